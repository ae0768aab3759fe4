#include "support/gguf_mutator.h"

#include <limits>

#include "support/driver.h"
#include "support/pipeline_mutator.h"

namespace kvsplice::fuzz {

namespace {

constexpr uint32_t kMagic = 0x46554747;  // "GGUF"
constexpr uint32_t kVersion = 3;
constexpr uint32_t kStart[] = {kMagic, kVersion};
constexpr size_t kAlignment = 32;
constexpr uint32_t kText = 8, kArray = 9;

size_t scalar_bytes(uint32_t type) {
  constexpr size_t sizes[] = {1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8};
  return type < std::size(sizes) ? sizes[type] : 0;
}

// Of the types that codecs and dumps use: f32, f16, i8, i32.
size_t value_bytes(uint32_t type) {
  if (type == 0 || type == 26) return 4;
  return type == 1 ? 2 : type == 24 ? 1 : 0;
}

Error damaged() { return {ErrorKind::format, "not a sound GGUF file"}; }

Result<std::string> get_text(ByteReader& in) {
  KVS_ASSIGN(const uint64_t size, in.get<uint64_t>());
  KVS_ASSIGN(const ByteSpan text, in.take(size));
  return std::string(text.begin(), text.end());
}

void put_text(ByteSpan text, ByteWriter& out) {
  out.put<uint64_t>(text.size());
  out.put_bytes(text);
}

ByteSpan bytes_of(const std::string& text) {
  return {reinterpret_cast<const uint8_t*>(text.data()), text.size()};
}

Result<> skip_value(ByteReader& in, uint32_t type) {
  if (type == kText) {
    KVS_TRY(get_text(in));
    return {};
  }
  if (scalar_bytes(type) == 0) return damaged();
  KVS_TRY(in.take(scalar_bytes(type)));
  return {};
}

Result<> skip_array(ByteReader& in) {
  KVS_ASSIGN(const uint32_t type, in.get<uint32_t>());
  KVS_ASSIGN(const uint64_t n, in.get<uint64_t>());
  if (n > in.left()) return damaged();
  for (uint64_t i = 0; i < n; ++i) KVS_TRY(skip_value(in, type));
  return {};
}

Result<GgufParts::Entry> get_entry(ByteReader& in, ByteSpan all) {
  GgufParts::Entry entry;
  KVS_ASSIGN(entry.key, get_text(in));
  KVS_ASSIGN(entry.type, in.get<uint32_t>());
  const size_t from = in.position();
  KVS_TRY(entry.type == kArray ? skip_array(in) : skip_value(in, entry.type));
  const ByteSpan value = all.subspan(from, in.position() - from);
  entry.value.assign(value.begin(), value.end());
  return entry;
}

uint64_t data_bytes(const GgufParts::Tensor& tensor) {
  uint64_t count = value_bytes(tensor.type);
  for (uint64_t d : tensor.dims) {
    if (d != 0 && count > (uint64_t{1} << 30) / d) return std::numeric_limits<uint64_t>::max();
    count *= d;
  }
  return count;
}

Result<GgufParts::Tensor> get_tensor(ByteReader& in, std::vector<uint64_t>& offsets) {
  GgufParts::Tensor tensor;
  KVS_ASSIGN(tensor.name, get_text(in));
  KVS_ASSIGN(const uint32_t dims, in.get<uint32_t>());
  if (dims > 4) return damaged();
  KVS_ASSIGN(tensor.dims, in.get_array<uint64_t>(dims));
  KVS_ASSIGN(tensor.type, in.get<uint32_t>());
  if (value_bytes(tensor.type) == 0) return damaged();
  KVS_ASSIGN(const uint64_t offset, in.get<uint64_t>());
  offsets.push_back(offset);
  return tensor;
}

size_t padded(size_t size) { return (size + kAlignment - 1) / kAlignment * kAlignment; }

void put_element(Random& random, uint8_t* at, size_t size) {
  const uint64_t odd = odd_number(random);
  std::memcpy(at, &odd, size);
}

// Numbers that pass for weights, and some that do not.
void put_odd_float(Random& random, uint8_t* at, size_t size) {
  const float floats[] = {0,
                          1,
                          -1,
                          1e-30f,
                          1e30f,
                          -1e38f,
                          65504,
                          1e-7f,
                          std::numeric_limits<float>::infinity(),
                          std::numeric_limits<float>::quiet_NaN()};
  const uint16_t halves[] = {0, 0x3c00, 0xbc00, 1, 0x7bff, 0xfbff, 0x7c00, 0x7e00, 0x8000, 0x0400};
  static_assert(std::size(floats) == std::size(halves));
  const size_t i = random.below(std::size(floats));
  if (size == 4) std::memcpy(at, &floats[i], size);
  if (size == 2) std::memcpy(at, &halves[i], size);
  if (size == 1) *at = static_cast<uint8_t>(random.below(256));
}

void mutate_array(Bytes& value, Random& random) {
  uint32_t type = 0;
  uint64_t n = 0;
  std::memcpy(&type, &value[0], 4);
  std::memcpy(&n, &value[4], 8);
  const size_t each = scalar_bytes(type);
  if (each == 0 || n == 0) return;
  if (random.below(4) > 0) {
    return put_element(random, &value[12 + random.below(n) * each], each);
  }
  // One element more or less.
  n = random.below(2) == 0 ? n - 1 : n + 1;
  value.resize(12 + n * each);
  std::memcpy(&value[4], &n, 8);
}

Bytes as_text_value(ByteSpan text) {
  ByteWriter out;
  put_text(text, out);
  return out.take();
}

void mutate_entry(GgufParts::Entry& entry, Random& random) {
  if (entry.type == kArray) return mutate_array(entry.value, random);
  if (entry.type != kText) return put_element(random, entry.value.data(), entry.value.size());
  const ByteSpan text = ByteSpan(entry.value).subspan(8);
  const bool pipeline = entry.key.ends_with("pipeline") && random.below(8) > 0;
  entry.value = as_text_value(pipeline ? mutate_pipeline(text, random) : mutate_bytes(text));
}

void mutate_dims(GgufParts::Tensor& tensor, Random& random) {
  if (tensor.dims.empty()) return;
  uint64_t& dim = tensor.dims[random.below(tensor.dims.size())];
  switch (random.below(4)) {
    case 0:
      dim += 1;
      break;
    case 1:
      dim = std::max<uint64_t>(dim, 2) - 1;
      break;
    case 2:
      dim = 1 + random.below(1 << 12);
      break;
    default:
      std::swap(dim, tensor.dims[0]);
  }
  constexpr uint64_t kMost = 1 << 16;
  if (data_bytes(tensor) <= kMost) tensor.data.resize(data_bytes(tensor));
}

void mutate_data(GgufParts::Tensor& tensor, Random& random) {
  const size_t each = value_bytes(tensor.type), n = tensor.data.size() / each;
  if (n == 0) return;
  switch (random.below(3)) {
    case 0:
      return put_odd_float(random, &tensor.data[random.below(n) * each], each);
    case 1:
      for (size_t i = random.below(3); i < n; i += 1 + random.below(8)) {
        put_odd_float(random, &tensor.data[i * each], each);
      }
      return;
    default:
      const size_t size = tensor.data.size();
      tensor.data = mutate_bytes(tensor.data);
      tensor.data.resize(size);
  }
}

template <class List>
void rearrange(List& list, Random& random) {
  const size_t i = random.below(list.size()), j = random.below(list.size());
  if (random.below(2) == 0) {
    list.erase(list.begin() + static_cast<ptrdiff_t>(i));
  } else {
    std::swap(list[i], list[j]);
  }
}

void mutate_tensor(GgufParts& parts, Random& random) {
  GgufParts::Tensor& tensor = parts.tensors[random.below(parts.tensors.size())];
  switch (random.below(10)) {
    case 0:
      return mutate_dims(tensor, random);
    case 1:
      return std::swap(tensor.name, parts.tensors[random.below(parts.tensors.size())].name);
    case 2:
      return rearrange(parts.tensors, random);
    default:
      return mutate_data(tensor, random);
  }
}

}  // namespace

Result<GgufParts> parse_gguf(ByteSpan bytes) {
  ByteReader in(bytes);
  KVS_ASSIGN(const uint32_t magic, in.get<uint32_t>());
  KVS_ASSIGN(const uint32_t version, in.get<uint32_t>());
  KVS_ASSIGN(const uint64_t tensors, in.get<uint64_t>());
  KVS_ASSIGN(const uint64_t entries, in.get<uint64_t>());
  if (magic != kMagic || version != kVersion) return damaged();
  GgufParts parts;
  for (uint64_t i = 0; i < entries; ++i) {
    KVS_ASSIGN(GgufParts::Entry entry, get_entry(in, bytes));
    parts.metadata.push_back(std::move(entry));
  }
  std::vector<uint64_t> offsets;
  for (uint64_t i = 0; i < tensors; ++i) {
    KVS_ASSIGN(GgufParts::Tensor tensor, get_tensor(in, offsets));
    parts.tensors.push_back(std::move(tensor));
  }
  const size_t start = std::min(padded(in.position()), bytes.size());
  const ByteSpan data = bytes.subspan(start);
  for (size_t i = 0; i < parts.tensors.size(); ++i) {
    GgufParts::Tensor& tensor = parts.tensors[i];
    const uint64_t size = data_bytes(tensor);
    if (offsets[i] > data.size() || size > data.size() - offsets[i]) return damaged();
    const ByteSpan part = data.subspan(offsets[i], size);
    tensor.data.assign(part.begin(), part.end());
  }
  return parts;
}

Bytes write_gguf(const GgufParts& parts) {
  ByteWriter out;
  out.put_array(std::span<const uint32_t>(kStart));
  const uint64_t counts[] = {parts.tensors.size(), parts.metadata.size()};
  out.put_array(std::span<const uint64_t>(counts));
  for (const GgufParts::Entry& entry : parts.metadata) {
    put_text(bytes_of(entry.key), out);
    out.put(entry.type);
    out.put_bytes(entry.value);
  }
  uint64_t offset = 0;
  for (const GgufParts::Tensor& tensor : parts.tensors) {
    put_text(bytes_of(tensor.name), out);
    out.put(static_cast<uint32_t>(tensor.dims.size()));
    out.put_array(std::span<const uint64_t>(tensor.dims));
    out.put(tensor.type);
    out.put(offset);
    offset += padded(tensor.data.size());
  }
  Bytes file = out.take();
  file.resize(padded(file.size()));
  for (const GgufParts::Tensor& tensor : parts.tensors) {
    file.insert(file.end(), tensor.data.begin(), tensor.data.end());
    file.resize(padded(file.size()));
  }
  return file;
}

Bytes mutate_gguf(ByteSpan bytes, Random& random) {
  auto parts = parse_gguf(bytes);
  if (!parts.ok() || random.below(2) == 0) return mutate_bytes(bytes);
  const bool tensor = !parts->tensors.empty() && random.below(3) > 0;
  if (tensor) {
    mutate_tensor(*parts, random);
  } else if (!parts->metadata.empty() && random.below(16) > 0) {
    mutate_entry(parts->metadata[random.below(parts->metadata.size())], random);
  } else if (!parts->metadata.empty()) {
    rearrange(parts->metadata, random);
  }
  return write_gguf(*parts);
}

}  // namespace kvsplice::fuzz
