// Bytes under a file name, for readers that open files: one file in memory, filled anew each time.
#pragma once

#include <sys/mman.h>
#include <unistd.h>

#include <string>

#include "core/bytes.h"

namespace kvsplice::fuzz {

class MemoryFile {
 public:
  MemoryFile() : fd_(memfd_create("fuzz", MFD_CLOEXEC)) {}
  ~MemoryFile() {
    if (fd_ >= 0) close(fd_);
  }
  MemoryFile(const MemoryFile&) = delete;
  MemoryFile& operator=(const MemoryFile&) = delete;

  bool fill(ByteSpan bytes) {
    const auto size = static_cast<ssize_t>(bytes.size());
    return fd_ >= 0 && ftruncate(fd_, size) == 0 &&
           pwrite(fd_, bytes.data(), bytes.size(), 0) == size;
  }
  std::string path() const { return "/proc/self/fd/" + std::to_string(fd_); }

 private:
  int fd_;
};

}  // namespace kvsplice::fuzz
