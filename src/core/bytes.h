// Little-endian bytes, written and read with every length checked. Readers treat input as hostile.
#pragma once

#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

#include "kvsplice/result.h"

namespace kvsplice {

using Bytes = std::vector<uint8_t>;
using ByteSpan = std::span<const uint8_t>;

static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "wire formats are little-endian");

class ByteWriter {
 public:
  template <class T>
  requires std::is_arithmetic_v<T>
  void put(T value) {
    put_zeros(sizeof value);
    std::memcpy(bytes_.data() + bytes_.size() - sizeof value, &value, sizeof value);
  }
  void reserve(size_t bytes) { bytes_.reserve(bytes); }  // in all
  void put_zeros(size_t n) { bytes_.resize(bytes_.size() + n); }
  void put_varint(uint64_t value);  // LEB128: 7 bits a byte, low bits first
  void put_bytes(ByteSpan bytes) { bytes_.insert(bytes_.end(), bytes.begin(), bytes.end()); }
  void put_string(std::string_view text);  // varint length, then the characters
  template <class T>
  void put_array(std::span<const T> values) {  // the values only; the reader knows the count
    const auto* p = reinterpret_cast<const uint8_t*>(values.data());
    bytes_.insert(bytes_.end(), p, p + values.size_bytes());
  }

  size_t size() const { return bytes_.size(); }
  const Bytes& bytes() const& { return bytes_; }
  Bytes take() { return std::move(bytes_); }

 private:
  Bytes bytes_;
};

class ByteReader {
 public:
  explicit ByteReader(ByteSpan bytes) : bytes_(bytes) {}

  template <class T>
  requires std::is_arithmetic_v<T> Result<T> get() {
    KVS_ASSIGN(ByteSpan from, take(sizeof(T)));
    T value;
    std::memcpy(&value, from.data(), sizeof value);
    return value;
  }
  Result<uint64_t> get_varint();  // in as few bytes as it takes
  Result<std::string> get_string(size_t limit = 1 << 16);
  Result<ByteSpan> take(size_t n);  // the next n bytes, in place
  template <class T>
  Result<std::vector<T>> get_array(size_t count) {
    if (count > left() / sizeof(T)) return truncated(count * sizeof(T));
    KVS_ASSIGN(ByteSpan from, take(count * sizeof(T)));
    std::vector<T> values(count);
    if (count > 0) std::memcpy(values.data(), from.data(), from.size());
    return values;
  }

  size_t left() const { return bytes_.size() - at_; }
  size_t position() const { return at_; }

 private:
  Error truncated(size_t wanted) const;

  ByteSpan bytes_;
  size_t at_ = 0;
};

uint64_t hash64(ByteSpan bytes, uint64_t seed = 0);  // XXH3, 64 bits
std::string hash128_hex(ByteSpan bytes);             // XXH3, 128 bits, 32 hex digits

}  // namespace kvsplice
