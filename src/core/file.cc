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

// Bytes of the character that starts a span, or 0 if it is none: too short, overlong, a surrogate
// or above U+10FFFF (RFC 3629).
size_t utf8_length(ByteSpan bytes) {
  const uint8_t lead = bytes[0];
  if (lead < 0x80) return 1;
  const size_t length = lead >= 0xf0 ? 4 : lead >= 0xe0 ? 3 : 2;
  if (lead < 0xc2 || lead > 0xf4 || bytes.size() < length) return 0;
  for (size_t i = 1; i < length; ++i) {
    if ((bytes[i] & 0xc0) != 0x80) return 0;
  }
  const uint8_t second = bytes[1];
  const bool overlong = (lead == 0xe0 && second < 0xa0) || (lead == 0xf0 && second < 0x90);
  const bool no_character = (lead == 0xed && second >= 0xa0) || (lead == 0xf4 && second >= 0x90);
  return overlong || no_character ? 0 : length;
}

size_t utf8_prefix(ByteSpan bytes) {
  size_t at = 0;
  while (at < bytes.size()) {
    const size_t length = utf8_length(bytes.subspan(at));
    if (length == 0) break;
    at += length;
  }
  return at;
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
  KVS_ASSIGN(const Bytes bytes, read_file(path));
  if (const size_t valid = utf8_prefix(bytes); valid < bytes.size()) {
    return Error{ErrorKind::format, fmt::format("{} is not UTF-8 text: byte {} is {:#04x}",
                                                path.string(), valid, bytes[valid])};
  }
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
