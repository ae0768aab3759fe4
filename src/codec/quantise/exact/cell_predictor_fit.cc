#include "codec/quantise/exact/cell_predictor_fit.h"

#include <algorithm>
#include <cmath>

#include "codec/predict/layers/rounding_fit.h"
#include "core/threads.h"
#include "solve/solve.h"

namespace kvsplice::codec::exact {

namespace {

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

}  // namespace

Result<CellPredictor> fit_cell_predictor(const Inputs& inputs, const Side& target,
                                         std::span<const int32_t> positions, double ridge,
                                         layers::SharedProducts& shared) {
  std::vector<int8_t> exponents;
  std::vector<Matrix<float>> read;
  std::vector<layers::Source> sources;
  for (const Side& input : inputs.sides) read.push_back(integers(input, positions, exponents));
  for (size_t i = 0; i < read.size(); ++i) sources.push_back({inputs.names[i], read[i]});
  const size_t inputs_width = 2 * exponents.size();
  const Matrix<float> own = integers(target, positions, exponents);
  const layers::Moments m = layers::measure(sources, own, shared);
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
  std::vector<int32_t> scales, biases;
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
    scales.push_back(static_cast<int32_t>(scale));
    biases.push_back(
        static_cast<int32_t>(std::clamp<double>(std::round(bias), -kLargestBias, kLargestBias)));
  }
  return CellPredictor(std::move(exponents), {codes.flat().begin(), codes.flat().end()},
                       std::move(scales), std::move(biases));
}

}  // namespace kvsplice::codec::exact
