#include "codec/quantise/exact/predictor.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "codec/checks.h"
#include "codec/predict/layers/rounding.h"
#include "core/threads.h"
#include "linalg/linalg.h"

namespace kvsplice::codec::exact {

namespace {

constexpr int kScaleBits = 16;
constexpr int32_t kLargestScale = 1 << 24;  // what a float holds exactly
constexpr int32_t kLargestBias = 1 << 20;
constexpr int64_t kLargestPrediction = 1 << 24;

// Leaves room for values eight times the rms and more.
int8_t exponent_of(const Columns::Pair& pair, MatrixView<const float> rows) {
  double squares = 0;
  for (size_t r = 0; r < rows.rows; ++r) {
    squares += double(rows(r, pair.first)) * rows(r, pair.first);
    if (pair.second != kNone) squares += double(rows(r, pair.second)) * rows(r, pair.second);
  }
  const double rms = std::sqrt(squares / double(rows.rows * (pair.second == kNone ? 1 : 2)));
  if (!(rms > 0)) return 0;
  return static_cast<int8_t>(std::clamp(std::floor(std::log2(500 / rms)), double(kLeastExponent),
                                        double(kLargestExponent)));
}

// All rows of a unit as integers, [rows x width], and the exponents they are at.
Matrix<float> integers(const Side& side, std::span<const int32_t> positions,
                       std::vector<int8_t>& exponents) {
  const size_t width = side.columns.width(), at = exponents.size();
  exponents.resize(at + side.columns.pairs.size());
  parallel_for(side.columns.pairs.size(), [&](size_t p) {
    exponents[at + p] = exponent_of(side.columns.pairs[p], side.rows);
  });
  Matrix<float> out(side.rows.rows, width);
  parallel_chunks(side.rows.rows, kTile, [&](size_t first, size_t n) {
    std::vector<int16_t> tile(width * kTile);
    to_tile(side.columns, side.rows.row_range(first, n), &exponents[at],
            turns_of(side.columns, positions, first, n), tile.data());
    for (size_t t = 0; t < n; ++t) {
      for (size_t c = 0; c < width; ++c) {
        out(first + t, c) = tile[(c / 2) * 2 * kTile + 2 * t + c % 2];
      }
    }
  });
  return out;
}

// Covariance of inputs and targets together, with room for what rounding to integers adds.
Matrix<double> covariance(const layers::Moments& m, double ridge) {
  const size_t inputs = m.input_mean.size(), all = inputs + m.target_mean.size();
  const double rows = double(m.rows[0] + m.rows[1]);
  Matrix<double> sum(all, all);
  for (int part : {0, 1}) {
    for (size_t i = 0; i < all; ++i) {
      for (size_t j = 0; j <= i; ++j) {
        const double v = i < inputs   ? m.inputs.of[part](i, j)
                         : j < inputs ? m.cross.of[part](j, i - inputs)
                                      : m.targets.of[part](i - inputs, j - inputs);
        sum(i, j) += v / rows;
        if (part == 1) sum(j, i) = sum(i, j);
      }
    }
  }
  for (size_t i = 0; i < all; ++i) sum(i, i) += ridge * sum(i, i) + 1.0 / 12;
  return sum;
}

// What predicts target row r from the inputs and the pairs before its own: with a = l l^T, the
// solution of l_q^T w = (row of l), l_q the leading part of l.
void solve_row(const Matrix<double>& l, size_t inputs, size_t r, std::span<double> weights) {
  const size_t reads = inputs + (r & ~size_t{1});
  std::copy_n(l.row(inputs + r).begin(), reads, weights.begin());
  for (size_t i = reads; i-- > 0;) {
    weights[i] /= l(i, i);
    for (size_t j = 0; j < i; ++j) weights[j] -= l(i, j) * weights[i];
  }
}

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

Result<Predictor> Predictor::fit(const std::vector<Side>& inputs,
                                 const std::vector<std::string>& names, const Side& target,
                                 std::span<const int32_t> positions, double ridge,
                                 layers::SharedProducts& memory) {
  Predictor made;
  std::vector<Matrix<float>> read;
  std::vector<layers::Source> sources;
  for (const Side& input : inputs) read.push_back(integers(input, positions, made.exponents_));
  for (size_t i = 0; i < read.size(); ++i) sources.push_back({names[i], read[i]});
  const size_t inputs_width = 2 * made.exponents_.size();
  const Matrix<float> own = integers(target, positions, made.exponents_);
  const layers::Moments m = layers::measure(sources, own, memory);
  KVS_ASSIGN(const Matrix<double> factor, cholesky(covariance(m, ridge)));

  Matrix<double> weights(own.cols(), factor.rows());
  parallel_for(own.cols(), [&](size_t r) { solve_row(factor, inputs_width, r, weights.row(r)); });
  std::vector<float> steps(own.cols());
  for (size_t r = 0; r < steps.size(); ++r) {
    double peak = 0;
    for (double w : weights.row(r)) peak = std::max(peak, std::abs(w));
    steps[r] = static_cast<float>(peak / layers::kLargestWeight);
  }
  const Matrix<float> codes = layers::round_weights(weights, factor, steps);
  made.weights_.assign(codes.flat().begin(), codes.flat().end());
  for (size_t r = 0; r < own.cols(); ++r) {
    const double scale = std::min<double>(
        std::round(std::ldexp(double(steps[r]), kScaleBits + kExtraBits)), kLargestScale);
    double at_mean = 0;
    for (size_t j = 0; j < factor.rows(); ++j) {
      const double mean = j < inputs_width ? m.input_mean[j] : m.target_mean[j - inputs_width];
      at_mean += codes(r, j) * mean;
    }
    const double bias =
        std::ldexp(m.target_mean[r], kExtraBits) - std::ldexp(scale, -kScaleBits) * at_mean;
    made.scale_.push_back(static_cast<int32_t>(scale));
    made.bias_.push_back(
        static_cast<int32_t>(std::clamp<double>(std::round(bias), -kLargestBias, kLargestBias)));
  }
  return made;
}

State Predictor::save() const {
  const size_t rows = scale_.size();
  State state;
  state["exponents"] = integer_array({exponents_.size()}, exponents_, Storage::i8);
  state["weights"] = integer_array({rows, stride()}, weights_, Storage::i8);
  state["scale"] = integer_array({rows}, scale_, Storage::f32);
  state["bias"] = integer_array({rows}, bias_, Storage::f32);
  return state;
}

Result<Predictor> Predictor::load(const State& state, size_t width) {
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
  Predictor made;
  made.exponents_.assign(exponents->values.begin(), exponents->values.end());
  made.weights_.assign(weights->values.begin(), weights->values.end());
  made.scale_.assign(scale->values.begin(), scale->values.end());
  made.bias_.assign(bias->values.begin(), bias->values.end());
  return made;
}

std::vector<int16_t> Predictor::input_tile(const std::vector<Side>& inputs, size_t first,
                                           size_t count, std::span<const int32_t> positions) const {
  std::vector<int16_t> tile(2 * input_pairs() * kTile);
  size_t at = 0;
  for (const Side& input : inputs) {
    to_tile(input.columns, input.rows.row_range(first, count), &exponents_[at],
            turns_of(input.columns, positions, first, count), &tile[2 * at * kTile]);
    at += input.columns.pairs.size();
  }
  return tile;
}

Expected Predictor::expected(size_t pair, const int32_t* sums, const Turn* turns) const {
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
