#include "core/file.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

namespace kvsplice {

namespace {

Error failed(const char* verb, const std::filesystem::path& path) {
  return {ErrorKind::io,
          fmt::format("cannot {} {}: {}", verb, path.string(), std::strerror(errno))};
}

struct Descriptor {
  int fd;
  ~Descriptor() {
    if (fd >= 0) ::close(fd);
  }
};

Result<> write_all(int fd, ByteSpan bytes, const std::filesystem::path& path) {
  while (!bytes.empty()) {
    const ssize_t n = ::write(fd, bytes.data(), bytes.size());
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return failed("write", path);
    bytes = bytes.subspan(static_cast<size_t>(n));
  }
  if (::fsync(fd) != 0) return failed("flush", path);
  return {};
}

}  // namespace

Result<Bytes> read_file(const std::filesystem::path& path) {
  Descriptor file{::open(path.c_str(), O_RDONLY | O_CLOEXEC)};
  if (file.fd < 0) return failed("open", path);
  struct stat info {};
  if (::fstat(file.fd, &info) != 0) return failed("read", path);
  if (!S_ISREG(info.st_mode)) {
    return Error{ErrorKind::io, fmt::format("{} is not a regular file", path.string())};
  }
  Bytes bytes(static_cast<size_t>(info.st_size));
  size_t at = 0;
  while (at < bytes.size()) {
    const ssize_t n = ::read(file.fd, bytes.data() + at, bytes.size() - at);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return failed("read", path);
    if (n == 0) break;
    at += static_cast<size_t>(n);
  }
  bytes.resize(at);
  return bytes;
}

Result<std::string> read_text(const std::filesystem::path& path) {
  KVS_ASSIGN(Bytes bytes, read_file(path));
  return std::string(bytes.begin(), bytes.end());
}

Result<> write_file(const std::filesystem::path& path, ByteSpan bytes) {
  std::filesystem::path temporary = path;
  temporary += fmt::format(".tmp{}", ::getpid());
  Result<> written = [&]() -> Result<> {
    Descriptor file{::open(temporary.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644)};
    if (file.fd < 0) return failed("create", temporary);
    return write_all(file.fd, bytes, temporary);
  }();
  if (written.ok() && ::rename(temporary.c_str(), path.c_str()) != 0) {
    written = failed("rename onto", path);
  }
  if (!written.ok()) ::unlink(temporary.c_str());
  return written;
}

Result<> write_text(const std::filesystem::path& path, std::string_view text) {
  return write_file(path, {reinterpret_cast<const uint8_t*>(text.data()), text.size()});
}

}  // namespace kvsplice
