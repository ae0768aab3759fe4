#include "codec/quantise/exact/cell_predictor.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "codec/checks.h"

namespace kvsplice::codec::exact {

namespace {

constexpr int64_t kLargestPrediction = 1 << 24;

StateArray integer_array(std::vector<size_t> dims, const auto& values, Storage storage) {
  return {std::move(dims), {values.begin(), values.end()}, storage};
}

Result<const StateArray*> find_integers(const State& state, const std::string& name,
                                        const std::vector<size_t>& dims, int low, int high) {
  KVS_ASSIGN(const StateArray* array, find_array(state, name, dims));
  for (float v : array->values) {
    if (v >= float(low) && v <= float(high) && v == std::floor(v)) continue;
    return Error{ErrorKind::format,
                 fmt::format("array '{}' holds {}; legal: integers {} ... {}", name, v, low, high)};
  }
  return array;
}

}  // namespace

State CellPredictor::save() const {
  const size_t rows = scale_.size();
  State state;
  state["exponents"] = integer_array({exponents_.size()}, exponents_, Storage::i8);
  state["weights"] = integer_array({rows, stride()}, weights_, Storage::i8);
  state["scale"] = integer_array({rows}, scale_, Storage::f32);
  state["bias"] = integer_array({rows}, bias_, Storage::f32);
  return state;
}

Result<CellPredictor> CellPredictor::load(const State& state, size_t width) {
  const size_t rows = (width + 1) / 2 * 2;
  KVS_ASSIGN(const StateArray* exponents,
             find_integers(state, "exponents", {kAny}, kLeastExponent, kLargestExponent));
  const size_t stride = 2 * exponents->values.size();
  if (stride < rows) {
    return Error{ErrorKind::format, fmt::format("{} exponents for {} columns", stride / 2, width)};
  }
  KVS_ASSIGN(const StateArray* weights, find_integers(state, "weights", {rows, stride}, -127, 127));
  KVS_ASSIGN(const StateArray* scale, find_integers(state, "scale", {rows}, 0, kLargestScale));
  KVS_ASSIGN(const StateArray* bias,
             find_integers(state, "bias", {rows}, -kLargestBias, kLargestBias));
  for (size_t r = 0; r < rows; ++r) {
    double sum = 0;
    for (size_t j = 0; j < stride; ++j) sum += std::abs(weights->values[r * stride + j]);
    if (sum * kLargestInput >= 0x1p31) {
      return Error{ErrorKind::format, fmt::format("the weights of row {} are too many", r)};
    }
  }
  return CellPredictor({exponents->values.begin(), exponents->values.end()},
                       {weights->values.begin(), weights->values.end()},
                       {scale->values.begin(), scale->values.end()},
                       {bias->values.begin(), bias->values.end()});
}

std::vector<int16_t> CellPredictor::input_tile(const std::vector<Side>& inputs, size_t first,
                                               size_t count,
                                               std::span<const int32_t> positions) const {
  std::vector<int16_t> tile(2 * input_pairs() * kTile);
  size_t at = 0;
  for (const Side& input : inputs) {
    to_tile(input.columns, input.rows.row_range(first, count), &exponents_[at],
            turns_of(input.columns, positions, first, count), &tile[2 * at * kTile]);
    at += input.columns.pairs.size();
  }
  return tile;
}

Expected CellPredictor::expected(size_t pair, const int32_t* sums, const Turn* turns) const {
  Expected out;
  for (size_t i = 0; i < 2; ++i) {
    const int64_t scale = scale_[2 * pair + i], bias = bias_[2 * pair + i];
    for (size_t t = 0; t < kTile; ++t) {
      const int64_t p =
          bias + ((sums[i * kTile + t] * scale + (1 << (kScaleBits - 1))) >> kScaleBits);
      out[i][t] = std::clamp(p, -kLargestPrediction, kLargestPrediction);
    }
  }
  constexpr int64_t kHalf = 1 << (kTurnBits - 1);
  for (size_t t = 0; t < kTile; ++t) {
    const int64_t a = out[0][t], b = out[1][t], c = turns[t].cosine, s = turns[t].sine;
    out[0][t] = (a * c - b * s + kHalf) >> kTurnBits;
    out[1][t] = (a * s + b * c + kHalf) >> kTurnBits;
  }
  return out;
}

}  // namespace kvsplice::codec::exact
