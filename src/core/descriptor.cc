#include "core/descriptor.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstring>

namespace kvsplice {

Descriptor::~Descriptor() {
  if (fd_ >= 0) ::close(fd_);
}

Descriptor Descriptor::again() const { return Descriptor(::fcntl(fd_, F_DUPFD_CLOEXEC, 0)); }

Error system_error(const std::string& verb, const std::string& path) {
  return {ErrorKind::io, fmt::format("cannot {} {}: {}", verb, path, std::strerror(errno))};
}

Result<size_t> read_up_to(int fd, uint8_t* out, size_t most, const std::string& path) {
  size_t done = 0;
  while (done < most) {
    const ssize_t n = retried([&] { return ::read(fd, out + done, most - done); });
    if (n < 0) return system_error("read", path);
    if (n == 0) break;
    done += static_cast<size_t>(n);
  }
  return done;
}

Result<> write_all(int fd, ByteSpan bytes, const std::string& path) {
  while (!bytes.empty()) {
    const ssize_t n = retried([&] { return ::write(fd, bytes.data(), bytes.size()); });
    if (n <= 0) return system_error("write", path);
    bytes = bytes.subspan(static_cast<size_t>(n));
  }
  return {};
}

Result<> flush_to_disk(int fd, const std::string& path) {
  // EINVAL: a file system that has nothing to flush.
  if (retried([&] { return ::fsync(fd); }) == 0 || errno == EINVAL) return {};
  return system_error("flush", path);
}

Lock try_lock(int fd) {
  if (retried([&] { return ::flock(fd, LOCK_EX | LOCK_NB); }) == 0) return Lock::held;
  return errno == EWOULDBLOCK ? Lock::busy : Lock::unsupported;
}

Error locked_by_another(const std::string& path) {
  return {ErrorKind::io, fmt::format("cannot lock {}: another program writes to it", path)};
}

bool is_named(int fd, const std::string& path) {
  struct stat opened {
  }, named{};
  return ::fstat(fd, &opened) == 0 && ::stat(path.c_str(), &named) == 0 &&
         opened.st_ino == named.st_ino && opened.st_dev == named.st_dev;
}

Error replaced_by_another(const std::string& path) {
  return {ErrorKind::io, path + " was replaced by another program meanwhile"};
}

}  // namespace kvsplice
