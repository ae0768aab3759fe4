#include "codec/predict/layers/rounding.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

#include "core/threads.h"

namespace kvsplice::codec::layers {

namespace {

constexpr size_t kLanes = 16;  // rows rounded side by side: each pass over the factor serves all

using Lanes = std::array<float, kLanes>;

double peak_of(std::span<const double> weights) {
  double peak = 0;
  for (double w : weights) peak = std::max(peak, std::abs(w));
  return peak;
}

// Rounds rows [first, first + n) with grids that cut the largest weight at `cut` of itself; returns
// the squared error of what they predict, relative to the largest weights.
double round_rows(const Matrix<double>& weights, const Matrix<float>& factor, size_t first,
                  size_t n, double cut, int bits, Rounded& out) {
  const auto largest = static_cast<float>(std::exp2(bits - 1) - 1);
  Lanes scale{}, inverse{};
  for (size_t i = 0; i < n; ++i) {
    scale[i] = static_cast<float>(cut * peak_of(weights.row(first + i)) / largest);
    if (scale[i] < std::numeric_limits<float>::min()) scale[i] = 0;
    inverse[i] = scale[i] > 0 ? 1 / scale[i] : 0;
    out.scale[first + i] = scale[i];
  }
  double squares = 0;
  std::vector<Lanes> carried(weights.cols());  // sum over j behind k of error_j * factor_jk
  for (size_t k = weights.cols(); k-- > 0;) {
    const auto f = factor.row(k);
    Lanes error{};
    for (size_t i = 0; i < n; ++i) {
      const auto weight = static_cast<float>(weights(first + i, k));
      const float wanted = weight + carried[k][i] / f[k];
      const float code = std::clamp(std::round(wanted * inverse[i]), -largest, largest);
      out.codes(first + i, k) = code;
      error[i] = weight - scale[i] * code;
      const float left = (f[k] * error[i] + carried[k][i]) * inverse[i] * static_cast<float>(cut);
      squares += double(left) * left;
    }
    for (size_t j = 0; j < k; ++j) {
      for (size_t i = 0; i < kLanes; ++i) carried[j][i] += error[i] * f[j];
    }
  }
  return squares;
}

}  // namespace

Rounded round_weights(const Matrix<double>& weights, const Matrix<double>& factor, int bits) {
  Rounded out{std::vector<float>(weights.rows()), Matrix<float>(weights.rows(), weights.cols())};
  Matrix<float> f(factor.rows(), factor.cols());
  std::copy(factor.flat().begin(), factor.flat().end(), f.data());
  // With few bits it pays to cut the largest weights, for a finer grid for the others. How far is
  // tried on the first rows.
  double best = INFINITY, cut = 1;
  for (double tried : {1.0, 0.75, 0.55, 0.4, 0.3}) {
    const double error =
        round_rows(weights, f, 0, std::min(kLanes, weights.rows()), tried, bits, out);
    if (error >= best) break;
    best = error;
    cut = tried;
  }
  parallel_chunks(weights.rows(), kLanes, [&](size_t first, size_t n) {
    round_rows(weights, f, first, n, cut, bits, out);
  });
  return out;
}

}  // namespace kvsplice::codec::layers
