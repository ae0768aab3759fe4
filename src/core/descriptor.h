// A file descriptor that is closed with its owner, and the calls on it that signals must not cut
// short.
#pragma once

#include <cerrno>
#include <string>

#include "core/bytes.h"
#include "core/os.h"

namespace kvsplice {

class Descriptor {
 public:
  Descriptor() = default;
  explicit Descriptor(int fd) : fd_(fd) {}  // negative: none
  Descriptor(Descriptor&& other) noexcept : fd_(other.fd_) { other.fd_ = -1; }
  Descriptor& operator=(Descriptor&& other) noexcept {
    std::swap(fd_, other.fd_);
    return *this;
  }
  ~Descriptor();

  explicit operator bool() const { return fd_ >= 0; }
  int get() const { return fd_; }
  Descriptor again() const;  // the same open file, its lock and its place included

 private:
  int fd_ = -1;
};

// Repeats a system call for as long as signals interrupt it.
template <class Call>
auto retried(const Call& call) {
  for (;;) {
    const auto result = call();
    if (result >= 0 || errno != EINTR) return result;
  }
}

// "cannot <verb> <path>: <what errno says>".
Error system_error(const std::string& verb, const std::string& path);

// At most `most` bytes from where the descriptor stands; fewer only where the data end.
Result<size_t> read_up_to(int fd, uint8_t* out, size_t most, const std::string& path);
Result<> write_all(int fd, ByteSpan bytes, const std::string& path);
Result<> flush_to_disk(int fd, const std::string& path);

Error locked_by_another(const std::string& path);

// Whether the name leads to the open file: another program may have put a file in its place.
bool is_named(int fd, const std::string& path);
Error replaced_by_another(const std::string& path);

}  // namespace kvsplice
