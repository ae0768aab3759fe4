#include "gguf/wire.h"

#include <algorithm>
#include <iterator>

namespace kvsplice::gguf {

namespace {

struct Type {
  const char* name;
  size_t bytes;
};

constexpr Type kTypes[] = {{"u8", 1},  {"i8", 1},  {"u16", 2},  {"i16", 2}, {"u32", 4},
                           {"i32", 4}, {"f32", 4}, {"bool", 1}, {"str", 0}, {"arr", 0},
                           {"u64", 8}, {"i64", 8}, {"f64", 8}};
static_assert(std::size(kTypes) == kValueTypes);

constexpr TensorFormat kFormats[] = {{TensorType::f32, 0, 4, "f32"},
                                     {TensorType::f16, 1, 2, "f16"},
                                     {TensorType::i8, 24, 1, "i8"},
                                     {TensorType::i32, 26, 4, "i32"}};

}  // namespace

size_t bytes_of(ValueType type) { return kTypes[static_cast<uint32_t>(type)].bytes; }
const char* name_of(ValueType type) { return kTypes[static_cast<uint32_t>(type)].name; }

const TensorFormat& format_of(TensorType type) { return kFormats[static_cast<size_t>(type)]; }

const TensorFormat* find_format(uint32_t number) {
  const auto found = std::find_if(std::begin(kFormats), std::end(kFormats),
                                  [&](const TensorFormat& f) { return f.number == number; });
  return found == std::end(kFormats) ? nullptr : found;
}

}  // namespace kvsplice::gguf
