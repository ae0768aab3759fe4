#include <fmt/format.h>
#include <ggml.h>

#include <cstring>

#include "core/memory.h"
#include "host/gguf_file.h"
#include "host/gguf_source.h"

namespace kvsplice::host {

size_t TensorInfo::count() const {
  size_t n = 1;
  for (size_t d : dims) n *= d;
  return n;
}

namespace {

Result<TensorInfo> describe(const GgufSource& file, const SourceTensor& tensor) {
  TensorInfo info{tensor.name, TensorType::f32, {}};
  switch (tensor.type) {
    case GGML_TYPE_F32:
      info.type = TensorType::f32;
      break;
    case GGML_TYPE_F16:
      info.type = TensorType::f16;
      break;
    case GGML_TYPE_I8:
      info.type = TensorType::i8;
      break;
    case GGML_TYPE_I32:
      info.type = TensorType::i32;
      break;
    default:
      return Error{ErrorKind::format,
                   fmt::format("{}: tensor '{}' has type {}; f32, f16, i8 and i32 are read",
                               file.path(), tensor.name, ggml_type_name(tensor.type))};
  }
  size_t n_dims = 4;
  while (n_dims > 1 && tensor.ne[n_dims - 1] == 1) --n_dims;
  for (size_t i = n_dims; i-- > 0;) info.dims.push_back(tensor.ne[i]);
  return info;
}

}  // namespace

struct GgufReader::Impl {
  GgufSource file;
  std::vector<TensorInfo> infos;

  const gguf_context* header() const { return file.header(); }

  Error wrong_type(int64_t key, const char* wanted) const {
    const gguf_type type = gguf_get_kv_type(header(), key);
    const std::string met =
        type == GGUF_TYPE_ARRAY
            ? fmt::format("array of {}", gguf_type_name(gguf_get_arr_type(header(), key)))
            : gguf_type_name(type);
    return {ErrorKind::format, fmt::format("{}: '{}' is of type {}, {} is wanted", file.path(),
                                           gguf_get_key(header(), key), met, wanted)};
  }

  Result<int64_t> find_key(const std::string& key) const {
    const int64_t id = gguf_find_key(header(), key.c_str());
    if (id >= 0) return id;
    return Error{ErrorKind::format, fmt::format("{} has no metadata '{}'", file.path(), key)};
  }

  Result<int64_t> find_key(const std::string& key, gguf_type type, const char* wanted) const {
    KVS_ASSIGN(int64_t id, find_key(key));
    if (gguf_get_kv_type(header(), id) != type) return wrong_type(id, wanted);
    return id;
  }

  Result<int64_t> find_array(const std::string& key, gguf_type type, const char* wanted) const {
    KVS_ASSIGN(int64_t id, find_key(key, GGUF_TYPE_ARRAY, wanted));
    if (gguf_get_arr_type(header(), id) != type) return wrong_type(id, wanted);
    return id;
  }

  template <class T>
  Result<std::vector<T>> array(const std::string& key, gguf_type type, const char* wanted) const {
    KVS_ASSIGN(int64_t id, find_array(key, type, wanted));
    const size_t n = gguf_get_arr_n(header(), id);
    std::vector<T> values(n);
    if (n > 0) std::memcpy(values.data(), gguf_get_arr_data(header(), id), n * sizeof(T));
    return values;
  }

  Result<const SourceTensor*> range(const std::string& name, size_t first, size_t n) const {
    const SourceTensor* t = file.find(name);
    if (t == nullptr) {
      return Error{ErrorKind::format, fmt::format("{} has no tensor '{}'", file.path(), name)};
    }
    if (first > t->count() || n > t->count() - first) {
      return Error{ErrorKind::usage,
                   fmt::format("{}: values {} ... {} of tensor '{}', which has {}", file.path(),
                               first, first + n, name, t->count())};
    }
    return t;
  }
};

GgufReader::GgufReader(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
GgufReader::GgufReader(GgufReader&&) noexcept = default;
GgufReader& GgufReader::operator=(GgufReader&&) noexcept = default;
GgufReader::~GgufReader() = default;

Result<GgufReader> GgufReader::open(const std::string& path) {
  return within_memory([&]() -> Result<GgufReader> {
    KVS_ASSIGN(GgufSource file, GgufSource::open(path));
    std::vector<TensorInfo> infos;
    for (const SourceTensor& tensor : file.tensors()) {
      KVS_ASSIGN(TensorInfo info, describe(file, tensor));
      infos.push_back(std::move(info));
    }
    return GgufReader(std::make_unique<Impl>(Impl{std::move(file), std::move(infos)}));
  });
}

Result<std::string> GgufReader::text(const std::string& key) const {
  KVS_ASSIGN(int64_t id, impl_->find_key(key, GGUF_TYPE_STRING, "a string"));
  return std::string(gguf_get_val_str(impl_->header(), id));
}

Result<int64_t> GgufReader::integer(const std::string& key) const {
  KVS_ASSIGN(int64_t id, impl_->find_key(key));
  return integer_value(impl_->header(), id);
}

Result<double> GgufReader::number(const std::string& key) const {
  KVS_ASSIGN(int64_t id, impl_->find_key(key));
  switch (gguf_get_kv_type(impl_->header(), id)) {
    case GGUF_TYPE_FLOAT32:
      return double{gguf_get_val_f32(impl_->header(), id)};
    case GGUF_TYPE_FLOAT64:
      return gguf_get_val_f64(impl_->header(), id);
    default:
      return impl_->wrong_type(id, "a number with a fraction");
  }
}

Result<bool> GgufReader::flag(const std::string& key) const {
  KVS_ASSIGN(int64_t id, impl_->find_key(key, GGUF_TYPE_BOOL, "a truth value"));
  return gguf_get_val_bool(impl_->header(), id);
}

Result<std::vector<std::string>> GgufReader::texts(const std::string& key) const {
  KVS_ASSIGN(int64_t id, impl_->find_array(key, GGUF_TYPE_STRING, "an array of strings"));
  std::vector<std::string> values;
  for (size_t i = 0; i < gguf_get_arr_n(impl_->header(), id); ++i) {
    values.emplace_back(gguf_get_arr_str(impl_->header(), id, i));
  }
  return values;
}

Result<std::vector<int32_t>> GgufReader::integers(const std::string& key) const {
  return impl_->array<int32_t>(key, GGUF_TYPE_INT32, "an array of 32-bit integers");
}

Result<std::vector<float>> GgufReader::numbers(const std::string& key) const {
  return impl_->array<float>(key, GGUF_TYPE_FLOAT32, "an array of 32-bit floats");
}

bool GgufReader::has(const std::string& key) const {
  return gguf_find_key(impl_->header(), key.c_str()) >= 0;
}

const std::vector<TensorInfo>& GgufReader::tensors() const { return impl_->infos; }

const TensorInfo* GgufReader::find(const std::string& tensor) const {
  const SourceTensor* t = impl_->file.find(tensor);
  return t == nullptr ? nullptr : &impl_->infos[size_t(t - impl_->file.tensors().data())];
}

Result<> GgufReader::read(const std::string& tensor, size_t first, std::span<float> out) const {
  KVS_ASSIGN(const SourceTensor* t, impl_->range(tensor, first, out.size()));
  if (t->type == GGML_TYPE_F32) {
    return impl_->file.read_bytes(t->offset + first * sizeof(float), out.data(), out.size_bytes());
  }
  if (t->type == GGML_TYPE_I8) {
    std::vector<int8_t> bytes(out.size());
    KVS_TRY(impl_->file.read_bytes(t->offset + first, bytes.data(), bytes.size()));
    std::copy(bytes.begin(), bytes.end(), out.begin());
    return {};
  }
  if (t->type != GGML_TYPE_F16) {
    return Error{ErrorKind::format,
                 fmt::format("{}: tensor '{}' holds integers, numbers are wanted", path(), tensor)};
  }
  std::vector<ggml_fp16_t> halves(out.size());
  KVS_TRY(impl_->file.read_bytes(t->offset + first * sizeof(ggml_fp16_t), halves.data(),
                                 halves.size() * sizeof(ggml_fp16_t)));
  ggml_fp16_to_fp32_row(halves.data(), out.data(), static_cast<int64_t>(out.size()));
  return {};
}

Result<> GgufReader::read(const std::string& tensor, size_t first, std::span<int32_t> out) const {
  KVS_ASSIGN(const SourceTensor* t, impl_->range(tensor, first, out.size()));
  if (t->type != GGML_TYPE_I32) {
    return Error{ErrorKind::format, fmt::format("{}: tensor '{}' holds {}, integers are wanted",
                                                path(), tensor, ggml_type_name(t->type))};
  }
  return impl_->file.read_bytes(t->offset + first * sizeof(int32_t), out.data(), out.size_bytes());
}

const std::string& GgufReader::path() const { return impl_->file.path(); }

}  // namespace kvsplice::host
