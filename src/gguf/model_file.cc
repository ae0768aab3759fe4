#include "gguf/model_file.h"

#include <fmt/format.h>

#include <algorithm>
#include <string_view>

#include "core/limits.h"
#include "core/memory.h"
#include "gguf/metadata.h"

namespace kvsplice::gguf {

namespace {

constexpr uint64_t kPieces = 16, kPieceBytes = 4096;
constexpr uint64_t kMostValues = uint64_t{1} << 48;  // of a tensor; their bytes still fit

Result<Metadata> metadata_of(const std::string& path) {
  KVS_ASSIGN(auto source, file_source(path));
  return Metadata::read(std::move(source), path);
}

Result<int64_t> integer_or(const Metadata& metadata, const std::string& key, int64_t otherwise) {
  return metadata.has(key) ? metadata.integer(key) : Result<int64_t>(otherwise);
}

// Hyperparameters are the keys of the architecture; general.* but the architecture describes the
// file, tokenizer.* the text, split.* and quantize.* the way here.
bool matters(std::string_view key) {
  if (key == "general.architecture") return true;
  for (const char* other : {"general.", "tokenizer.", "split.", "quantize."}) {
    if (key.starts_with(other)) return false;
  }
  return true;
}

Result<> put_array(const Metadata::Value& value, ByteWriter& out) {
  out.put(static_cast<int32_t>(value.type));
  if (value.type != ValueType::text) {
    out.put_bytes(value.bytes);
    return {};
  }
  ByteReader elements(value.bytes);
  for (uint32_t i = 0; i < value.count; ++i) {
    KVS_ASSIGN(const uint64_t size, elements.get<uint64_t>());
    KVS_ASSIGN(const ByteSpan text, elements.take(size));
    out.put_string({reinterpret_cast<const char*>(text.data()), text.size()});
  }
  return {};
}

// Integers of any width count the same: converters differ in the width they choose.
void put_scalar(const Metadata& metadata, const Metadata::Value& value, ByteWriter& out) {
  if (const auto integer = metadata.integer(std::string(value.key)); integer.ok()) {
    out.put(*integer);
  } else if (value.type == ValueType::text) {
    out.put_string({reinterpret_cast<const char*>(value.bytes.data()), value.bytes.size()});
  } else if (value.type == ValueType::flag) {
    out.put(static_cast<uint8_t>(value.bytes[0] != 0));
  } else {
    out.put_bytes(value.bytes);
  }
}

Result<uint64_t> hash_value(const Metadata& metadata, const Metadata::Value& value) {
  ByteWriter out;
  out.put_string(value.key);
  if (value.is_array) {
    KVS_TRY(put_array(value, out));
  } else {
    put_scalar(metadata, value, out);
  }
  return hash64(out.bytes());
}

struct Tensor {
  std::string name;
  uint32_t type = 0;
  uint64_t ne[4] = {1, 1, 1, 1};  // ggml's order: innermost first
  uint64_t bytes = 0, offset = 0;
};

Result<uint64_t> bytes_of(const FileStart& in, const Tensor& tensor) {
  const auto& types = ggml_types();
  const auto type = std::find_if(types.begin(), types.end(),
                                 [&](const GgmlType& t) { return t.number == tensor.type; });
  if (type == types.end()) {
    return Error{ErrorKind::unsupported,
                 fmt::format("{}: tensor '{}' is of type {}, not known here", in.name(),
                             tensor.name, tensor.type)};
  }
  uint64_t count = 1;
  for (const uint64_t n : tensor.ne) {
    if (n != 0 && count > kMostValues / n) {
      return in.damaged(fmt::format("tensor '{}' has a dimension of {}", tensor.name, n));
    }
    count *= n;
  }
  if (tensor.ne[0] % type->block != 0) {
    return in.damaged(fmt::format("tensor '{}' has rows of {}", tensor.name, tensor.ne[0]));
  }
  return count / type->block * type->bytes;
}

Result<Tensor> take_tensor(FileStart& in) {
  Tensor tensor;
  KVS_ASSIGN(const Part name, in.take_text());
  tensor.name = in.text(name);
  KVS_ASSIGN(const uint32_t dims, in.get<uint32_t>());
  if (dims > limits::kTensorDims) {
    return in.damaged(fmt::format("tensor '{}' has {} dimensions", tensor.name, dims));
  }
  for (uint32_t i = 0; i < dims; ++i) {
    KVS_ASSIGN(tensor.ne[i], in.get<uint64_t>());
  }
  KVS_ASSIGN(tensor.type, in.get<uint32_t>());
  KVS_ASSIGN(tensor.offset, in.get<uint64_t>());
  KVS_ASSIGN(tensor.bytes, bytes_of(in, tensor));
  return tensor;
}

Result<std::vector<Tensor>> take_tensors(Metadata& metadata) {
  FileStart& in = metadata.rest();
  std::vector<Tensor> tensors;
  for (uint64_t i = 0; i < metadata.tensor_count(); ++i) {
    KVS_ASSIGN(tensors.emplace_back(), take_tensor(in));
  }
  const uint64_t data = padded(in.position(), metadata.alignment()), size = in.source().size();
  for (Tensor& t : tensors) {
    if (data > size || t.offset > size - data || t.bytes > size - data - t.offset) {
      return Error{ErrorKind::format,
                   fmt::format("{} is truncated: tensor '{}' needs {} bytes, the file has {}",
                               in.name(), t.name, t.bytes, size)};
    }
    t.offset += data;
  }
  return tensors;
}

Result<uint64_t> hash_tensor(const ByteSource& file, const Tensor& tensor) {
  ByteWriter out;
  out.put_string(tensor.name);
  out.put(static_cast<int32_t>(tensor.type));
  for (const uint64_t n : tensor.ne) out.put(n);
  Bytes data(std::min(tensor.bytes, kPieces * kPieceBytes));
  if (tensor.bytes <= data.size()) {
    KVS_TRY(file.read(tensor.offset, data.data(), data.size()));
  } else {
    const uint64_t last = tensor.bytes - kPieceBytes;
    for (uint64_t i = 0; i < kPieces; ++i) {
      const uint64_t at = last / (kPieces - 1) * i;
      KVS_TRY(file.read(tensor.offset + at, &data[i * kPieceBytes], kPieceBytes));
    }
  }
  out.put(hash64(data));
  return hash64(out.bytes());
}

Result<> hash_values(const Metadata& metadata, std::vector<uint64_t>& hashes) {
  for (const Metadata::Value& value : metadata.values()) {
    if (!matters(value.key)) continue;
    KVS_ASSIGN(hashes.emplace_back(), hash_value(metadata, value));
  }
  return {};
}

Result<> hash_tensors(Metadata& metadata, std::vector<uint64_t>& hashes) {
  KVS_ASSIGN(const auto tensors, take_tensors(metadata));
  for (const Tensor& tensor : tensors) {
    KVS_ASSIGN(hashes.emplace_back(), hash_tensor(metadata.source(), tensor));
  }
  return {};
}

// The order in the file does not matter.
std::string hash_of(std::vector<uint64_t> hashes) {
  std::sort(hashes.begin(), hashes.end());
  ByteWriter all;
  all.put_array(std::span<const uint64_t>(hashes));
  return hash128_hex(all.bytes());
}

}  // namespace

const std::vector<GgmlType>& ggml_types() {
  static const std::vector<GgmlType> types = {
      {0, 1, 4},      {1, 1, 2},      {2, 32, 18},   {3, 32, 20},    {6, 32, 22},    {7, 32, 24},
      {8, 32, 34},    {9, 32, 36},    {10, 256, 84}, {11, 256, 110}, {12, 256, 144}, {13, 256, 176},
      {14, 256, 210}, {15, 256, 292}, {16, 256, 66}, {17, 256, 74},  {18, 256, 98},  {19, 256, 50},
      {20, 32, 18},   {21, 256, 110}, {22, 256, 82}, {23, 256, 136}, {24, 1, 1},     {25, 1, 2},
      {26, 1, 4},     {27, 1, 8},     {28, 1, 8},    {29, 256, 56},  {30, 1, 2},     {34, 256, 54},
      {35, 256, 66},  {39, 32, 17},   {40, 64, 36},  {41, 128, 18},  {42, 64, 18}};
  return types;
}

Result<std::vector<std::string>> files_of_model(const std::string& path) {
  KVS_ASSIGN(const Metadata first, metadata_of(path));
  KVS_ASSIGN(const int64_t count, integer_or(first, "split.count", 1));
  KVS_ASSIGN(const int64_t number, integer_or(first, "split.no", 0));
  if (count <= 1) return std::vector<std::string>{path};
  const std::string end = fmt::format("-00001-of-{:05}.gguf", count);
  if (number != 0 || !path.ends_with(end)) {
    return Error{ErrorKind::format,
                 fmt::format("{} is part {} of {}; give the first, named <name>{}", path,
                             number + 1, count, end)};
  }
  std::vector<std::string> files;
  const std::string begin = path.substr(0, path.size() - end.size());
  for (int64_t i = 1; i <= count && i <= limits::kLayers; ++i) {
    files.push_back(fmt::format("{}-{:05}-of-{:05}.gguf", begin, i, count));
  }
  return files;
}

Result<std::string> fingerprint_of_model(const std::string& path) {
  return within_memory([&]() -> Result<std::string> {
    KVS_ASSIGN(const auto files, files_of_model(path));
    std::vector<uint64_t> hashes;
    for (const std::string& file : files) {
      KVS_ASSIGN(Metadata metadata, metadata_of(file));
      if (file == files.front()) KVS_TRY(hash_values(metadata, hashes));
      KVS_TRY(hash_tensors(metadata, hashes));
    }
    return hash_of(std::move(hashes));
  });
}

Result<std::string> fingerprint_of_model(std::shared_ptr<const ByteSource> file,
                                         const std::string& name) {
  return within_memory([&]() -> Result<std::string> {
    KVS_ASSIGN(Metadata metadata, Metadata::read(std::move(file), name));
    std::vector<uint64_t> hashes;
    KVS_TRY(hash_values(metadata, hashes));
    KVS_TRY(hash_tensors(metadata, hashes));
    return hash_of(std::move(hashes));
  });
}

}  // namespace kvsplice::gguf
