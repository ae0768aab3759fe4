// A file as memory: what is large is neither read nor copied, and counts as the system's cache.
#pragma once

#include <string>

#include "core/bytes.h"

namespace kvsplice::serve {

class MappedFile {
 public:
  static Result<MappedFile> open(const std::string& path);
  // A new file, of zeros, for its user and group. Room for it is taken now, so that a full disk is
  // an error here and not where it is written to.
  static Result<MappedFile> create(const std::string& path, size_t bytes);
  MappedFile(MappedFile&& other) noexcept;
  MappedFile& operator=(MappedFile&& other) noexcept;
  ~MappedFile();

  ByteSpan bytes() const { return {begin_, size_}; }
  uint8_t* data() { return begin_; }  // of a file that was created
  // Cuts the file; what lies behind is not to be touched any more.
  Result<> shrink(size_t bytes);

 private:
  MappedFile(std::string path, int file, uint8_t* begin, size_t size)
      : path_(std::move(path)), file_(file), begin_(begin), size_(size) {}

  std::string path_;
  int file_ = -1;
  uint8_t* begin_ = nullptr;
  size_t size_ = 0;
};

}  // namespace kvsplice::serve
