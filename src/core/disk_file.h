// A file read and written at given places, for containers that grow. Every call moves all bytes or
// returns an error.
#pragma once

#include <optional>
#include <string>

#include "core/output_file.h"

namespace kvsplice {

class DiskFile {
 public:
  // To read.
  static Result<DiskFile> open(const std::string& path);
  // To read and write; locked: one at a time.
  static Result<DiskFile> extend(const std::string& path);
  // To write anew: it appears when published.
  static DiskFile replace(OutputFile output);
  // To write this file, which is being extended, anew; its lock is kept.
  Result<OutputFile> replacement() const;
  // For a copy of this file.
  Result<OutputFile> reserve_copy(const std::string& path) const;
  // Whether that name led to this file when it was opened, or does so now.
  bool is_at(const std::string& path) const { return path == path_ || is_named(fd(), path); }

  const std::string& path() const { return path_; }
  uint64_t size() const { return size_; }  // when opened, or after what was written and cut since
  // Bytes [first, first + n), which must exist.
  Result<Bytes> read(uint64_t first, size_t n) const;
  Result<> read(uint64_t first, std::span<uint8_t> out) const;
  Result<> write(uint64_t first, ByteSpan bytes);
  Result<> resize(uint64_t size);
  Result<> flush();  // to the disk
  // Flushes. A new file appears under its name; of another it is checked that it still has it.
  Result<> publish();

 private:
  explicit DiskFile(std::string path) : path_(std::move(path)) {}
  int fd() const { return output_ ? output_->fd() : file_.get(); }
  Error truncated(uint64_t first, size_t n) const;

  std::string path_;
  Descriptor file_;
  std::optional<OutputFile> output_;  // instead of file_
  uint64_t size_ = 0;
};

}  // namespace kvsplice
