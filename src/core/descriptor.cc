#include "core/descriptor.h"

#include <fmt/format.h>

#include <cstring>

namespace kvsplice {

Descriptor::~Descriptor() {
  if (fd_ >= 0) os::close_file(fd_);
}

Descriptor Descriptor::again() const { return Descriptor(os::duplicate(fd_)); }

Error system_error(const std::string& verb, const std::string& path) {
  return {ErrorKind::io, fmt::format("cannot {} {}: {}", verb, path, std::strerror(errno))};
}

Result<size_t> read_up_to(int fd, uint8_t* out, size_t most, const std::string& path) {
  size_t done = 0;
  while (done < most) {
    const ptrdiff_t n = os::read_some(fd, out + done, most - done);
    if (n < 0) return system_error("read", path);
    if (n == 0) break;
    done += static_cast<size_t>(n);
  }
  return done;
}

Result<> write_all(int fd, ByteSpan bytes, const std::string& path) {
  while (!bytes.empty()) {
    const ptrdiff_t n = os::write_some(fd, bytes.data(), bytes.size());
    if (n <= 0) return system_error("write", path);
    bytes = bytes.subspan(static_cast<size_t>(n));
  }
  return {};
}

Result<> flush_to_disk(int fd, const std::string& path) {
  return os::flush(fd) ? Result<>() : system_error("flush", path);
}

Error locked_by_another(const std::string& path) {
  return {ErrorKind::io, fmt::format("cannot lock {}: another program writes to it", path)};
}

bool is_named(int fd, const std::string& path) {
  const auto opened = os::state_of(fd), named = os::state_at(path);
  return opened && named && opened->is_same_file(*named);
}

Error replaced_by_another(const std::string& path) {
  return {ErrorKind::io, path + " was replaced by another program meanwhile"};
}

}  // namespace kvsplice
