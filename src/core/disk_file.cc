#include "core/disk_file.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <utility>

namespace kvsplice {

DiskFile::DiskFile(std::string path, std::string temporary, int fd)
    : path_(std::move(path)), temporary_(std::move(temporary)), fd_(fd) {}

DiskFile::DiskFile(DiskFile&& other) noexcept
    : path_(std::move(other.path_)),
      temporary_(std::exchange(other.temporary_, {})),
      fd_(std::exchange(other.fd_, -1)),
      size_(other.size_) {}

DiskFile& DiskFile::operator=(DiskFile&& other) noexcept {
  std::swap(path_, other.path_);
  std::swap(temporary_, other.temporary_);
  std::swap(fd_, other.fd_);
  std::swap(size_, other.size_);
  return *this;
}

DiskFile::~DiskFile() {
  if (fd_ < 0) return;
  ::close(fd_);
  if (!temporary_.empty()) ::unlink(temporary_.c_str());
}

Error DiskFile::truncated(uint64_t first, size_t n) const {
  return {ErrorKind::format,
          fmt::format("{}: truncated: bytes {} ... {} of {}", path_, first, first + n, size_)};
}

Error DiskFile::failed(const char* verb) const {
  return {ErrorKind::io, fmt::format("cannot {} {}: {}", verb, path_, std::strerror(errno))};
}

namespace {

Result<uint64_t> size_of(int fd, const std::string& path) {
  struct stat info {};
  if (::fstat(fd, &info) != 0 || !S_ISREG(info.st_mode)) {
    return Error{ErrorKind::io, path + " is not a regular file"};
  }
  return static_cast<uint64_t>(info.st_size);
}

// A name survives a crash once its folder is on the disk; best effort, some systems cannot.
void flush_folder_of(const std::string& path) {
  const std::string folder = std::filesystem::path(path).parent_path().string();
  const int fd = ::open(folder.empty() ? "." : folder.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return;
  (void)::fsync(fd);
  ::close(fd);
}

}  // namespace

Result<DiskFile> DiskFile::open(const std::string& path) {
  DiskFile file(path, {}, ::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (file.fd_ < 0) return file.failed("open");
  KVS_ASSIGN(file.size_, size_of(file.fd_, path));
  return file;
}

Result<DiskFile> DiskFile::extend(const std::string& path) {
  DiskFile file(path, {}, ::open(path.c_str(), O_RDWR | O_CLOEXEC));
  if (file.fd_ < 0) return file.failed("open");
  KVS_TRY(file.lock());
  KVS_ASSIGN(file.size_, size_of(file.fd_, path));
  // Who held the lock before may have put another file in its place.
  struct stat opened {
  }, named{};
  if (::fstat(file.fd_, &opened) != 0 || ::stat(path.c_str(), &named) != 0 ||
      opened.st_ino != named.st_ino || opened.st_dev != named.st_dev) {
    return Error{ErrorKind::io, path + " was replaced by another program meanwhile"};
  }
  return file;
}

Result<DiskFile> DiskFile::replace(const std::string& path) {
  std::string temporary = fmt::format("{}.tmp{}", path, ::getpid());
  const int fd = ::open(temporary.c_str(), O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
  DiskFile file(path, std::move(temporary), fd);
  if (fd < 0) return file.failed("create");
  KVS_TRY(file.lock());
  return file;
}

Result<> DiskFile::lock() {
  if (::flock(fd_, LOCK_EX | LOCK_NB) == 0) return {};
  if (errno == EWOULDBLOCK) {
    return Error{ErrorKind::io, fmt::format("cannot lock {}: another program writes to it", path_)};
  }
  return failed("lock");
}

Result<Bytes> DiskFile::read(uint64_t first, size_t n) const {
  if (first > size_ || n > size_ - first) return truncated(first, n);
  Bytes bytes(n);
  for (size_t done = 0; done < n;) {
    const ssize_t got =
        ::pread(fd_, bytes.data() + done, n - done, static_cast<off_t>(first + done));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return failed("read");
    if (got == 0) return truncated(first, n);  // someone has cut it
    done += static_cast<size_t>(got);
  }
  return bytes;
}

Result<> DiskFile::write(uint64_t first, ByteSpan bytes) {
  while (!bytes.empty()) {
    const ssize_t n = ::pwrite(fd_, bytes.data(), bytes.size(), static_cast<off_t>(first));
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return failed("write");
    first += static_cast<uint64_t>(n);
    size_ = std::max(size_, first);
    bytes = bytes.subspan(static_cast<size_t>(n));
  }
  return {};
}

Result<> DiskFile::cut(uint64_t size) {
  if (::ftruncate(fd_, static_cast<off_t>(size)) != 0) return failed("cut");
  size_ = size;
  return {};
}

Result<> DiskFile::flush() {
  if (::fsync(fd_) != 0) return failed("flush");
  return {};
}

Result<> DiskFile::publish() {
  if (temporary_.empty()) return {};
  if (::rename(temporary_.c_str(), path_.c_str()) != 0) return failed("rename onto");
  temporary_.clear();
  flush_folder_of(path_);
  return {};
}

}  // namespace kvsplice
