#include "host/gguf_source.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <limits>
#include <utility>

#include "core/memory.h"
#include "host/log.h"

namespace kvsplice::host {

GgufSource::GgufSource(GgufSource&& other) noexcept { *this = std::move(other); }

GgufSource& GgufSource::operator=(GgufSource&& other) noexcept {
  std::swap(path_, other.path_);
  std::swap(fd_, other.fd_);
  std::swap(file_bytes_, other.file_bytes_);
  std::swap(header_, other.header_);
  std::swap(tensors_, other.tensors_);
  std::swap(by_name_, other.by_name_);
  return *this;
}

GgufSource::~GgufSource() {
  if (fd_ >= 0) ::close(fd_);
}

Result<GgufSource> GgufSource::open(const std::string& path) {
  GgufSource source;
  source.path_ = path;
  source.fd_ = ::open(path.c_str(), O_RDONLY | O_NONBLOCK | O_CLOEXEC);  // a pipe is not waited for
  struct stat info {};
  if (source.fd_ < 0 || ::fstat(source.fd_, &info) != 0) {
    return Error{ErrorKind::io, fmt::format("cannot open {}: {}", path, std::strerror(errno))};
  }
  if (!S_ISREG(info.st_mode)) {
    return Error{ErrorKind::io,
                 fmt::format("{} is not a regular file; GGUF files are read at any place of "
                             "them and must be files",
                             path)};
  }
  source.file_bytes_ = static_cast<uint64_t>(info.st_size);
  KVS_TRY(source.parse());
  KVS_TRY(source.list_tensors());
  return source;
}

Result<> GgufSource::parse() {
  char magic[4] = {};
  if (file_bytes_ < sizeof magic || !read_bytes(0, magic, sizeof magic).ok() ||
      std::memcmp(magic, GGUF_MAGIC, sizeof magic) != 0) {
    return Error{ErrorKind::format, fmt::format("{} is not a GGUF file", path_)};
  }
  std::unique_ptr<FILE, int (*)(FILE*)> file(::fdopen(::dup(fd_), "rb"), ::fclose);
  if (!file) {
    return Error{ErrorKind::io, fmt::format("cannot open {}: {}", path_, std::strerror(errno))};
  }
  std::rewind(file.get());
  listen_to_log();
  header_.reset(gguf_init_from_file_ptr(file.get(), {.no_alloc = true, .ctx = nullptr}));
  if (!header_) {
    const ErrorKind kind = kind_of_log_error(ErrorKind::format);
    if (kind == ErrorKind::memory) return out_of_memory();
    return Error{
        kind, fmt::format("{} is truncated or damaged: {}", path_, first_log_error("no header"))};
  }
  return {};
}

Result<> GgufSource::list_tensors() {
  const uint64_t data = gguf_get_data_offset(header_.get());
  for (int64_t i = 0; i < gguf_get_n_tensors(header_.get()); ++i) {
    SourceTensor t;
    t.name = gguf_get_tensor_name(header_.get(), i);
    t.type = gguf_get_tensor_type(header_.get(), i);
    const int64_t* ne = gguf_get_tensor_ne(header_.get(), i);
    t.ne = {size_t(ne[0]), size_t(ne[1]), size_t(ne[2]), size_t(ne[3])};
    t.bytes = gguf_get_tensor_size(header_.get(), i);
    t.offset = data + gguf_get_tensor_offset(header_.get(), i);
    // ggml has refused sums that overflow; the file may still end early.
    if (t.offset < data || t.offset > file_bytes_ || t.bytes > file_bytes_ - t.offset) {
      return Error{ErrorKind::format,
                   fmt::format("{} is truncated: tensor '{}' needs {} bytes at {}, the file has {}",
                               path_, t.name, t.bytes, t.offset, file_bytes_)};
    }
    by_name_.emplace(t.name, tensors_.size());
    tensors_.push_back(std::move(t));
  }
  return {};
}

const SourceTensor* GgufSource::find(const std::string& name) const {
  const auto found = by_name_.find(name);
  return found == by_name_.end() ? nullptr : &tensors_[found->second];
}

Result<> GgufSource::read_bytes(uint64_t offset, void* out, size_t size) const {
  auto* to = static_cast<char*>(out);
  while (size > 0) {
    const ssize_t n = ::pread(fd_, to, size, static_cast<off_t>(offset));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) {
      return Error{ErrorKind::io, fmt::format("cannot read {}: {}", path_, std::strerror(errno))};
    }
    if (n == 0) return Error{ErrorKind::format, fmt::format("{} ends too early", path_)};
    to += n;
    offset += static_cast<uint64_t>(n);
    size -= static_cast<size_t>(n);
  }
  return {};
}

std::string GgufSource::text_or(const std::string& key, const std::string& otherwise) const {
  const int64_t id = gguf_find_key(header_.get(), key.c_str());
  const bool found = id >= 0 && gguf_get_kv_type(header_.get(), id) == GGUF_TYPE_STRING;
  return found ? gguf_get_val_str(header_.get(), id) : otherwise;
}

int64_t GgufSource::integer_or(const std::string& key, int64_t otherwise) const {
  const int64_t id = gguf_find_key(header_.get(), key.c_str());
  if (id < 0) return otherwise;
  const Result<int64_t> value = integer_value(header_.get(), id);
  return value.ok() ? *value : otherwise;
}

std::vector<int32_t> GgufSource::integers_or_none(const std::string& key) const {
  const int64_t id = gguf_find_key(header_.get(), key.c_str());
  if (id < 0 || gguf_get_kv_type(header_.get(), id) != GGUF_TYPE_ARRAY) return {};
  const gguf_type type = gguf_get_arr_type(header_.get(), id);
  if (type != GGUF_TYPE_INT32 && type != GGUF_TYPE_UINT32) return {};
  const auto* values = static_cast<const int32_t*>(gguf_get_arr_data(header_.get(), id));
  return {values, values + gguf_get_arr_n(header_.get(), id)};
}

Result<int64_t> integer_value(const gguf_context* header, int64_t key) {
  switch (gguf_get_kv_type(header, key)) {
    case GGUF_TYPE_UINT8:
      return int64_t{gguf_get_val_u8(header, key)};
    case GGUF_TYPE_INT8:
      return int64_t{gguf_get_val_i8(header, key)};
    case GGUF_TYPE_UINT16:
      return int64_t{gguf_get_val_u16(header, key)};
    case GGUF_TYPE_INT16:
      return int64_t{gguf_get_val_i16(header, key)};
    case GGUF_TYPE_UINT32:
      return int64_t{gguf_get_val_u32(header, key)};
    case GGUF_TYPE_INT32:
      return int64_t{gguf_get_val_i32(header, key)};
    case GGUF_TYPE_INT64:
      return gguf_get_val_i64(header, key);
    case GGUF_TYPE_UINT64: {
      const uint64_t value = gguf_get_val_u64(header, key);
      if (value <= uint64_t(std::numeric_limits<int64_t>::max())) return int64_t(value);
      break;
    }
    default:
      break;
  }
  return Error{ErrorKind::format,
               fmt::format("'{}' is of type {}, an integer is wanted", gguf_get_key(header, key),
                           gguf_type_name(gguf_get_kv_type(header, key)))};
}

}  // namespace kvsplice::host
