// How GGUF numbers types, and other constants of the format.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

#include "gguf/gguf_file.h"

namespace kvsplice::gguf {

constexpr std::string_view kMagic = "GGUF";
constexpr uint32_t kOldestVersion = 2, kVersion = 3;  // version 1 has other lengths
constexpr uint32_t kAlignment = 32;                   // of tensors, if the file names no other
constexpr std::string_view kAlignmentKey = "general.alignment";

// Of values of metadata.
enum class ValueType : uint32_t {
  u8,
  i8,
  u16,
  i16,
  u32,
  i32,
  f32,
  flag,
  text,
  array,
  u64,
  i64,
  f64
};
constexpr uint32_t kValueTypes = 13;

// 0: a string or an array, which say their length themselves.
size_t bytes_of(ValueType type);
const char* name_of(ValueType type);

// Of tensors. ggml has many more types.
struct TensorFormat {
  TensorType type;
  uint32_t number;
  size_t bytes;  // of a value
  const char* name;
};
const TensorFormat& format_of(TensorType type);
const TensorFormat* find_format(uint32_t number);

constexpr uint64_t padded(uint64_t size, uint64_t alignment) {
  return (size + alignment - 1) / alignment * alignment;
}

}  // namespace kvsplice::gguf
