#include <fmt/format.h>

#include <algorithm>
#include <numeric>

#include "core/half.h"
#include "core/limits.h"
#include "core/memory.h"
#include "gguf/gguf_file.h"
#include "gguf/metadata.h"

namespace kvsplice::gguf {

size_t TensorInfo::count() const {
  size_t n = 1;
  for (size_t d : dims) n *= d;
  return n;
}

namespace {

constexpr size_t kPiece = size_t{1} << 14;  // values that are converted at a time

struct TensorList {
  std::vector<TensorInfo> infos;
  std::vector<uint64_t> offsets;
  std::vector<uint32_t> by_name;  // infos in the order of their names
  uint64_t data = 0;              // where in the file offsets count from

  const std::string& name(uint32_t i) const { return infos[i].name; }
};

Error bad_tensor(const FileStart& in, const std::string& name, const std::string& what) {
  return in.damaged(fmt::format("tensor '{}' {}", name, what));
}

// As ggml has it, innermost first, and without the outermost ones that are 1.
Result<std::vector<size_t>> take_dims(FileStart& in, const std::string& name) {
  KVS_ASSIGN(const uint32_t n, in.get<uint32_t>());
  if (n > limits::kTensorDims) return bad_tensor(in, name, fmt::format("has {} dimensions", n));
  std::vector<size_t> dims;
  uint64_t count = 1;
  for (uint32_t i = 0; i < n; ++i) {
    KVS_ASSIGN(const uint64_t dim, in.get<uint64_t>());
    // A value takes a byte at least.
    if (dim == 0 || dim > in.source().size() / count) {
      return bad_tensor(in, name, fmt::format("has a dimension of {}", dim));
    }
    count *= dim;
    dims.push_back(dim);
  }
  while (dims.size() > 1 && dims.back() == 1) dims.pop_back();
  if (dims.empty()) dims.push_back(1);
  return dims;
}

Result<TensorInfo> take_info(FileStart& in) {
  TensorInfo info;
  KVS_ASSIGN(const Part name, in.take_text());
  info.name = in.text(name);
  if (name.size > limits::kTensorName) return bad_tensor(in, info.name, "has too long a name");
  KVS_ASSIGN(info.dims, take_dims(in, info.name));
  std::reverse(info.dims.begin(), info.dims.end());
  KVS_ASSIGN(const uint32_t type, in.get<uint32_t>());
  const TensorFormat* format = find_format(type);
  if (format == nullptr) {
    return Error{ErrorKind::format,
                 fmt::format("{}: tensor '{}' has type {}; f32 (0), f16 (1), i8 (24) and i32 (26) "
                             "are read",
                             in.name(), info.name, type)};
  }
  info.type = format->type;
  return info;
}

// One behind the other, as ggml wants them: an offset says nothing new.
Result<TensorList> take_tensors(FileStart& in, uint64_t count, uint64_t alignment) {
  TensorList list;
  uint64_t end = 0;
  for (uint64_t i = 0; i < count; ++i) {
    KVS_ASSIGN(TensorInfo info, take_info(in));
    KVS_ASSIGN(const uint64_t offset, in.get<uint64_t>());
    if (offset != end) {
      return bad_tensor(in, info.name, fmt::format("is at {}, not at {}", offset, end));
    }
    const uint64_t size = in.source().size(), each = format_of(info.type).bytes;
    if (end > size || info.count() > (size - end) / each) {
      return bad_tensor(in, info.name,
                        fmt::format("has {} values, more than there are bytes for", info.count()));
    }
    end = padded(end + info.count() * each, alignment);
    list.offsets.push_back(offset);
    list.infos.push_back(std::move(info));
  }
  list.data = padded(in.position(), alignment);
  return list;
}

// The last tensor needs no padding behind it.
Result<> check_end(const FileStart& in, const TensorList& list) {
  if (list.infos.empty()) return {};
  const TensorInfo& last = list.infos.back();
  const uint64_t bytes = uint64_t{last.count()} * format_of(last.type).bytes;
  const uint64_t from = list.data + list.offsets.back(), size = in.source().size();
  if (from <= size && bytes <= size - from) return {};
  return bad_tensor(in, last.name, fmt::format("needs {} bytes at {} of {}", bytes, from, size));
}

Result<> sort_names(const FileStart& in, TensorList& list) {
  list.by_name.resize(list.infos.size());
  std::iota(list.by_name.begin(), list.by_name.end(), 0u);
  std::sort(list.by_name.begin(), list.by_name.end(),
            [&](uint32_t a, uint32_t b) { return list.name(a) < list.name(b); });
  const auto twice =
      std::adjacent_find(list.by_name.begin(), list.by_name.end(),
                         [&](uint32_t a, uint32_t b) { return list.name(a) == list.name(b); });
  return twice == list.by_name.end() ? Result<>()
                                     : bad_tensor(in, list.name(*twice), "is there twice");
}

Result<TensorList> read_list(Metadata& metadata) {
  FileStart& in = metadata.rest();
  KVS_ASSIGN(TensorList list, take_tensors(in, metadata.tensor_count(), metadata.alignment()));
  KVS_TRY(check_end(in, list));
  KVS_TRY(sort_names(in, list));
  return list;
}

}  // namespace

struct GgufReader::Impl {
  Metadata metadata;
  TensorList list;

  const uint32_t* find(const std::string& tensor) const {
    const auto at =
        std::lower_bound(list.by_name.begin(), list.by_name.end(), tensor,
                         [&](uint32_t i, const std::string& name) { return list.name(i) < name; });
    return at != list.by_name.end() && list.name(*at) == tensor ? &*at : nullptr;
  }

  // Where value `first` of one of the tensors stands, if there are n from it on.
  Result<uint64_t> place(const TensorInfo& info, size_t first, size_t n) const {
    if (first <= info.count() && n <= info.count() - first) {
      const uint64_t offset = list.offsets[static_cast<size_t>(&info - list.infos.data())];
      return list.data + offset + first * format_of(info.type).bytes;
    }
    return Error{ErrorKind::usage,
                 fmt::format("{}: values {} ... {} of tensor '{}', which has {}", metadata.name(),
                             first, first + n, info.name, info.count())};
  }

  Result<const TensorInfo*> look_up(const std::string& tensor) const {
    if (const uint32_t* i = find(tensor)) return &list.infos[*i];
    return Error{ErrorKind::format, fmt::format("{} has no tensor '{}'", metadata.name(), tensor)};
  }

  Error wrong_type(const TensorInfo& info, const char* wanted) const {
    return {ErrorKind::format,
            fmt::format("{}: tensor '{}' holds {}, {} is wanted", metadata.name(), info.name,
                        format_of(info.type).name, wanted)};
  }

  // Of a tensor whose values are Ts.
  template <class T>
  Result<> read(const TensorInfo& info, size_t first, std::span<T> out) const {
    KVS_ASSIGN(const uint64_t at, place(info, first, out.size()));
    return metadata.source().read(at, out.data(), out.size_bytes());
  }

  template <class T>
  Result<> read(const std::string& tensor, size_t first, TensorType type, std::span<T> out) const {
    KVS_ASSIGN(const TensorInfo* info, look_up(tensor));
    if (info->type != type) return wrong_type(*info, format_of(type).name);
    return read(*info, first, out);
  }

  // The same, in pieces and as floats.
  template <class T, class Convert>
  Result<> convert(const TensorInfo& info, size_t first, std::span<float> out,
                   const Convert& to_float) const {
    KVS_TRY(place(info, first, out.size()));
    std::vector<T> piece(std::min(out.size(), kPiece));
    for (size_t done = 0; done < out.size(); done += piece.size()) {
      piece.resize(std::min(out.size() - done, kPiece));
      KVS_TRY(read(info, first + done, std::span<T>(piece)));
      std::transform(piece.begin(), piece.end(), out.begin() + static_cast<ptrdiff_t>(done),
                     to_float);
    }
    return {};
  }
};

GgufReader::GgufReader(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
GgufReader::GgufReader(GgufReader&&) noexcept = default;
GgufReader& GgufReader::operator=(GgufReader&&) noexcept = default;
GgufReader::~GgufReader() = default;

Result<GgufReader> GgufReader::open(const std::string& path) {
  KVS_ASSIGN(auto source, file_source(path));
  return open(std::move(source), path);
}

Result<GgufReader> GgufReader::open(std::shared_ptr<const ByteSource> source,
                                    const std::string& name) {
  return within_memory([&]() -> Result<GgufReader> {
    KVS_ASSIGN(Metadata metadata, Metadata::read(std::move(source), name));
    KVS_ASSIGN(TensorList list, read_list(metadata));
    return GgufReader(std::make_unique<Impl>(Impl{std::move(metadata), std::move(list)}));
  });
}

Result<std::string> GgufReader::text(const std::string& key) const {
  return impl_->metadata.text(key);
}
Result<int64_t> GgufReader::integer(const std::string& key) const {
  return impl_->metadata.integer(key);
}
Result<double> GgufReader::number(const std::string& key) const {
  return impl_->metadata.number(key);
}
Result<bool> GgufReader::flag(const std::string& key) const { return impl_->metadata.flag(key); }
Result<std::vector<std::string>> GgufReader::texts(const std::string& key) const {
  return impl_->metadata.texts(key);
}
Result<std::vector<int32_t>> GgufReader::integers(const std::string& key) const {
  return impl_->metadata.integers(key);
}
Result<std::vector<float>> GgufReader::numbers(const std::string& key) const {
  return impl_->metadata.numbers(key);
}
bool GgufReader::has(const std::string& key) const { return impl_->metadata.has(key); }
const std::string& GgufReader::path() const { return impl_->metadata.name(); }

const std::vector<TensorInfo>& GgufReader::tensors() const { return impl_->list.infos; }

const TensorInfo* GgufReader::find(const std::string& tensor) const {
  const uint32_t* i = impl_->find(tensor);
  return i == nullptr ? nullptr : &impl_->list.infos[*i];
}

Result<> GgufReader::read(const std::string& tensor, size_t first, std::span<float> out) const {
  KVS_ASSIGN(const TensorInfo* info, impl_->look_up(tensor));
  switch (info->type) {
    case TensorType::f32:
      return impl_->read(*info, first, out);
    case TensorType::f16:
      return impl_->convert<uint16_t>(*info, first, out, from_half);
    case TensorType::i8:
      return impl_->convert<int8_t>(*info, first, out, [](int8_t v) { return float(v); });
    case TensorType::i32:
      break;
  }
  return impl_->wrong_type(*info, "a kind of float or i8");
}

Result<> GgufReader::read(const std::string& tensor, size_t first, std::span<int32_t> out) const {
  return impl_->read(tensor, first, TensorType::i32, out);
}

Result<> GgufReader::read(const std::string& tensor, size_t first, std::span<int8_t> out) const {
  return impl_->read(tensor, first, TensorType::i8, out);
}

Result<> GgufReader::read(const std::string& tensor, size_t first, std::span<uint16_t> out) const {
  return impl_->read(tensor, first, TensorType::f16, out);
}

}  // namespace kvsplice::gguf
