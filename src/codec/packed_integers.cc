#include "codec/packed_integers.h"

#include <fmt/format.h>
#include <zstd.h>

#include <cmath>
#include <memory>

#include "codec/checks.h"

namespace kvsplice::codec {

namespace {

constexpr int kShortestMatch = 7;          // weights do not repeat: what is shorter is chance
constexpr size_t kMost = size_t{1} << 27;  // integers of one array: far more than a model needs

Error damaged(const std::string& name, std::string_view why) {
  return {ErrorKind::format, fmt::format("array '{}' of packed integers: {}", name, why)};
}

}  // namespace

StateArray pack_integers(std::span<const float> values) {
  std::vector<int8_t> bytes(values.begin(), values.end());
  std::vector<int8_t> frame(ZSTD_compressBound(bytes.size()));
  const std::unique_ptr<ZSTD_CCtx, decltype(&ZSTD_freeCCtx)> context(ZSTD_createCCtx(),
                                                                     ZSTD_freeCCtx);
  ZSTD_CCtx_setParameter(context.get(), ZSTD_c_strategy, ZSTD_fast);
  ZSTD_CCtx_setParameter(context.get(), ZSTD_c_minMatch, kShortestMatch);
  frame.resize(
      ZSTD_compress2(context.get(), frame.data(), frame.size(), bytes.data(), bytes.size()));
  return {{frame.size()}, {frame.begin(), frame.end()}, Storage::i8};
}

Result<std::vector<float>> unpack_integers(const State& state, const std::string& name,
                                           size_t count) {
  KVS_ASSIGN(const StateArray* array, find_array(state, name, {kAny}));
  for (float v : array->values) {
    if (v != std::round(v) || v < -128 || v > 127) return damaged(name, "it holds no bytes");
  }
  const std::vector<int8_t> frame(array->values.begin(), array->values.end());
  if (count > kMost) return damaged(name, fmt::format("{} of them", count));
  if (ZSTD_getFrameContentSize(frame.data(), frame.size()) != count) {
    return damaged(name, fmt::format("{} are not there", count));
  }
  std::vector<int8_t> bytes(count);
  if (ZSTD_decompress(bytes.data(), count, frame.data(), frame.size()) != count) {
    return damaged(name, "they do not unpack");
  }
  return std::vector<float>(bytes.begin(), bytes.end());
}

}  // namespace kvsplice::codec
