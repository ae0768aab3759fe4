// A file read and written at given places, for containers that grow. Every call moves all bytes or
// returns an error.
#pragma once

#include <string>

#include "core/bytes.h"

namespace kvsplice {

class DiskFile {
 public:
  // To read.
  static Result<DiskFile> open(const std::string& path);
  // To read and write; locked: one at a time.
  static Result<DiskFile> extend(const std::string& path);
  // To write anew; see publish(). Locked, too.
  static Result<DiskFile> replace(const std::string& path);
  DiskFile(DiskFile&& other) noexcept;
  DiskFile& operator=(DiskFile&& other) noexcept;
  ~DiskFile();

  const std::string& path() const { return path_; }
  uint64_t size() const { return size_; }  // when opened, or after what was written and cut since
  // Bytes [first, first + n), which must exist.
  Result<Bytes> read(uint64_t first, size_t n) const;
  Result<> write(uint64_t first, ByteSpan bytes);
  Result<> cut(uint64_t size);
  Result<> flush();  // to the disk
  // Makes a replaced file appear under its name. Before, only a temporary exists, which goes when
  // this object does.
  Result<> publish();

 private:
  DiskFile(std::string path, std::string temporary, int fd);
  Result<> lock();
  Error failed(const char* verb) const;
  Error truncated(uint64_t first, size_t n) const;

  std::string path_, temporary_;  // temporary_ is empty unless publish() is still to come
  int fd_ = -1;
  uint64_t size_ = 0;
};

}  // namespace kvsplice
