#include "host/fingerprint.h"

#include <algorithm>
#include <string_view>

#include "core/bytes.h"

namespace kvsplice::host {

namespace {

constexpr uint64_t pieces = 16, piece_bytes = 4096;

// Hyperparameters are the keys of the architecture; general.* but the architecture describes the
// file, tokenizer.* the text, split.* and quantize.* the way here.
bool matters(std::string_view key) {
  if (key == "general.architecture") return true;
  for (const char* other : {"general.", "tokenizer.", "split.", "quantize."}) {
    if (key.starts_with(other)) return false;
  }
  return true;
}

void put_array(const gguf_context* header, int64_t id, ByteWriter& out) {
  const gguf_type type = gguf_get_arr_type(header, id);
  const size_t n = gguf_get_arr_n(header, id);
  out.put(static_cast<int32_t>(type));
  if (type == GGUF_TYPE_STRING) {
    for (size_t i = 0; i < n; ++i) out.put_string(gguf_get_arr_str(header, id, i));
    return;
  }
  static constexpr size_t sizes[GGUF_TYPE_COUNT] = {1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8};
  const auto* data = static_cast<const uint8_t*>(gguf_get_arr_data(header, id));
  out.put_bytes({data, n * sizes[type]});
}

void put_scalar(const gguf_context* header, int64_t id, gguf_type type, ByteWriter& out) {
  // Integers of any width count the same: converters differ in the width they choose.
  if (const Result<int64_t> integer = integer_value(header, id); integer.ok()) {
    out.put(*integer);
  } else if (type == GGUF_TYPE_STRING) {
    out.put_string(gguf_get_val_str(header, id));
  } else if (type == GGUF_TYPE_FLOAT32) {
    out.put(gguf_get_val_f32(header, id));
  } else if (type == GGUF_TYPE_FLOAT64) {
    out.put(gguf_get_val_f64(header, id));
  } else if (type == GGUF_TYPE_BOOL) {
    out.put(static_cast<uint8_t>(gguf_get_val_bool(header, id)));
  } else {
    out.put(gguf_get_val_u64(header, id));
  }
}

uint64_t hash_entry(const gguf_context* header, int64_t id) {
  ByteWriter out;
  out.put_string(gguf_get_key(header, id));
  const gguf_type type = gguf_get_kv_type(header, id);
  if (type == GGUF_TYPE_ARRAY) {
    put_array(header, id, out);
  } else {
    put_scalar(header, id, type, out);
  }
  return hash64(out.bytes());
}

Result<uint64_t> hash_tensor(const GgufSource& file, const SourceTensor& tensor) {
  ByteWriter out;
  out.put_string(tensor.name);
  out.put(static_cast<int32_t>(tensor.type));
  for (size_t n : tensor.ne) out.put(static_cast<uint64_t>(n));
  Bytes data;
  if (tensor.bytes <= pieces * piece_bytes) {
    data.resize(tensor.bytes);
    KVS_TRY(file.read_bytes(tensor.offset, data.data(), data.size()));
  } else {
    data.resize(pieces * piece_bytes);
    const uint64_t last = tensor.bytes - piece_bytes;
    for (uint64_t i = 0; i < pieces; ++i) {
      const uint64_t at = last / (pieces - 1) * i;
      KVS_TRY(file.read_bytes(tensor.offset + at, &data[i * piece_bytes], piece_bytes));
    }
  }
  out.put(hash64(data));
  return hash64(out.bytes());
}

}  // namespace

Result<std::string> fingerprint(const std::vector<GgufSource>& files) {
  std::vector<uint64_t> hashes;
  const gguf_context* header = files.front().header();
  for (int64_t i = 0; i < gguf_get_n_kv(header); ++i) {
    if (matters(gguf_get_key(header, i))) hashes.push_back(hash_entry(header, i));
  }
  for (const GgufSource& file : files) {
    for (const SourceTensor& tensor : file.tensors()) {
      KVS_ASSIGN(uint64_t hash, hash_tensor(file, tensor));
      hashes.push_back(hash);
    }
  }
  std::sort(hashes.begin(), hashes.end());  // the order in the file does not matter either
  ByteWriter all;
  all.put_array(std::span<const uint64_t>(hashes));
  return hash128_hex(all.bytes());
}

}  // namespace kvsplice::host
