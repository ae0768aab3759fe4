#include "core/disk_file.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

namespace kvsplice {

namespace {

Result<uint64_t> size_of(int fd, const std::string& path) {
  const auto state = os::state_of(fd);
  if (!state) return system_error("open", path);
  if (state->kind == os::FileKind::regular) return state->size;
  return Error{ErrorKind::io,
               fmt::format("{} is not a regular file; it is read at any place and must be one "
                           "(a pipe can be saved to a file first)",
                           path)};
}

}  // namespace

Error DiskFile::truncated(uint64_t first, size_t n) const {
  return {ErrorKind::format,
          fmt::format("{}: truncated: bytes {} ... {} of {}", path_, first, first + n, size_)};
}

Result<DiskFile> DiskFile::open(const std::string& path) {
  DiskFile file(path);
  file.file_ = Descriptor(os::open_at_once(path, os::Access::read));
  if (!file.file_) return system_error("open", path);
  KVS_ASSIGN(file.size_, size_of(file.fd(), path));
  return file;
}

Result<DiskFile> DiskFile::extend(const std::string& path) {
  DiskFile file(path);
  file.file_ = Descriptor(os::open_at_once(path, os::Access::both));
  if (!file.file_) return system_error("open", path);
  KVS_ASSIGN(file.size_, size_of(file.fd(), path));
  if (os::try_lock(file.fd()) == Lock::busy) return locked_by_another(path);
  // Who held the lock before may have changed the file, or put another in its place.
  KVS_ASSIGN(file.size_, size_of(file.fd(), path));
  if (!is_named(file.fd(), path)) return replaced_by_another(path);
  return file;
}

DiskFile DiskFile::replace(OutputFile output) {
  DiskFile file(output.path());
  file.output_ = std::move(output);
  return file;
}

Result<OutputFile> DiskFile::replacement() const { return OutputFile::reserve_over(path_, file_); }

Result<OutputFile> DiskFile::reserve_copy(const std::string& path) const {
  KVS_ASSIGN(OutputFile out, OutputFile::reserve(path, Readers::owner));
  out.take_mode_of(fd());
  return out;
}

Result<Bytes> DiskFile::read(uint64_t first, size_t n) const {
  if (first > size_ || n > size_ - first) return truncated(first, n);
  Bytes bytes(n);
  KVS_TRY(read(first, bytes));
  return bytes;
}

Result<> DiskFile::read(uint64_t first, std::span<uint8_t> out) const {
  if (first > size_ || out.size() > size_ - first) return truncated(first, out.size());
  for (size_t done = 0; done < out.size();) {
    const ptrdiff_t got =
        os::read_some_at(fd(), first + done, out.data() + done, out.size() - done);
    if (got < 0) return system_error("read", path_);
    if (got == 0) return truncated(first, out.size());  // someone has cut it
    done += static_cast<size_t>(got);
  }
  return {};
}

Result<> DiskFile::write(uint64_t first, ByteSpan bytes) {
  while (!bytes.empty()) {
    const ptrdiff_t n = os::write_some_at(fd(), first, bytes.data(), bytes.size());
    if (n <= 0) return system_error("write", path_);
    first += static_cast<uint64_t>(n);
    size_ = std::max(size_, first);
    bytes = bytes.subspan(static_cast<size_t>(n));
  }
  return {};
}

Result<> DiskFile::resize(uint64_t size) {
  if (!os::resize(fd(), size)) return system_error("resize", path_);
  size_ = size;
  return {};
}

Result<> DiskFile::flush() { return flush_to_disk(fd(), path_); }

Result<> DiskFile::publish() {
  if (output_) return output_->publish();
  KVS_TRY(flush());
  return is_named(fd(), path_) ? Result<>() : replaced_by_another(path_);
}

}  // namespace kvsplice
