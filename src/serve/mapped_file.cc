#include "serve/mapped_file.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <utility>

namespace kvsplice::serve {

namespace {

Error cannot(const char* what, const std::string& path, int why) {
  return {ErrorKind::io, fmt::format("cannot {} {}: {}", what, path, std::strerror(why))};
}

Result<uint8_t*> mapped(int file, size_t bytes, int access, const std::string& path) {
  if (bytes == 0) return static_cast<uint8_t*>(nullptr);
  void* const begin = ::mmap(nullptr, bytes, access, MAP_SHARED, file, 0);
  if (begin == MAP_FAILED) return cannot("map", path, errno);
  return static_cast<uint8_t*>(begin);
}

}  // namespace

Result<MappedFile> MappedFile::open(const std::string& path) {
  const int file = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (file < 0) return cannot("open", path, errno);
  MappedFile it(path, file, nullptr, 0);
  struct stat state;
  if (::fstat(file, &state) != 0) return cannot("open", path, errno);
  const auto size = static_cast<size_t>(state.st_size);
  KVS_ASSIGN(it.begin_, mapped(file, size, PROT_READ, path));
  it.size_ = size;
  return it;
}

Result<MappedFile> MappedFile::create(const std::string& path, size_t bytes) {
  const int file = ::open(path.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0660);
  if (file < 0) return cannot("create", path, errno);
  MappedFile it(path, file, nullptr, 0);
  const int failed = ::posix_fallocate(file, 0, static_cast<off_t>(bytes));
  if (failed != 0) return cannot("make room for", path, failed);
  KVS_ASSIGN(it.begin_, mapped(file, bytes, PROT_READ | PROT_WRITE, path));
  it.size_ = bytes;
  return it;
}

MappedFile::MappedFile(MappedFile&& other) noexcept
    : path_(std::move(other.path_)),
      file_(std::exchange(other.file_, -1)),
      begin_(std::exchange(other.begin_, nullptr)),
      size_(std::exchange(other.size_, 0)) {}

MappedFile& MappedFile::operator=(MappedFile&& other) noexcept {
  std::swap(path_, other.path_);
  std::swap(file_, other.file_);
  std::swap(begin_, other.begin_);
  std::swap(size_, other.size_);
  return *this;
}

MappedFile::~MappedFile() {
  if (begin_ != nullptr) ::munmap(begin_, size_);
  if (file_ >= 0) ::close(file_);
}

Result<> MappedFile::shrink(size_t bytes) {
  if (::ftruncate(file_, static_cast<off_t>(bytes)) == 0) return {};
  return cannot("cut", path_, errno);
}

}  // namespace kvsplice::serve
