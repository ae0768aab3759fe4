#include "codec/predict/layers/rounding.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <vector>

#include "core/threads.h"

namespace kvsplice::codec::layers {

namespace {

constexpr size_t kLanes = 16;  // rows rounded side by side: each pass over the factor serves all

using Lanes = std::array<float, kLanes>;

void round_rows(const Matrix<double>& weights, const Matrix<float>& factor,
                std::span<const float> steps, size_t first, size_t n, Matrix<float>& codes) {
  Lanes inverse{};
  for (size_t i = 0; i < n; ++i) inverse[i] = steps[first + i] > 0 ? 1 / steps[first + i] : 0;
  std::vector<Lanes> carried(weights.cols());  // sum over j behind k of error_j * factor_jk
  for (size_t k = weights.cols(); k-- > 0;) {
    const auto f = factor.row(k);
    Lanes error{};
    for (size_t i = 0; i < n; ++i) {
      const auto weight = static_cast<float>(weights(first + i, k));
      const float wanted = weight + carried[k][i] / f[k];
      const float code =
          std::clamp(std::round(wanted * inverse[i]), -kLargestWeight, kLargestWeight);
      codes(first + i, k) = code + 0.f;  // no negative zeros
      error[i] = weight - steps[first + i] * code;
    }
    for (size_t j = 0; j < k; ++j) {
      for (size_t i = 0; i < kLanes; ++i) carried[j][i] += error[i] * f[j];
    }
  }
}

}  // namespace

Matrix<float> round_weights(const Matrix<double>& weights, const Matrix<double>& factor,
                            std::span<const float> steps) {
  Matrix<float> codes(weights.rows(), weights.cols()), f(factor.rows(), factor.cols());
  std::copy(factor.flat().begin(), factor.flat().end(), f.data());
  parallel_chunks(weights.rows(), kLanes,
                  [&](size_t first, size_t n) { round_rows(weights, f, steps, first, n, codes); });
  return codes;
}

}  // namespace kvsplice::codec::layers
