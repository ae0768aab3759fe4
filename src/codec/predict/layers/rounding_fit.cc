#include "codec/predict/layers/rounding_fit.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "core/threads.h"
#include "linalg/linalg.h"

namespace kvsplice::codec::layers {

namespace {

constexpr size_t kRows = 48;     // rounded side by side
constexpr size_t kColumns = 64;  // whose errors are handed on to those before them at once

// Rounds columns [first, last) of some rows; `errors` becomes what is left of each.
void round_columns(MatrixView<const double> weights, const Matrix<float>& factor,
                   std::span<const float> steps, size_t first, size_t last, Matrix<float>& carried,
                   MatrixView<float> errors, MatrixView<float> codes) {
  for (size_t i = 0; i < weights.rows; ++i) {
    const float inverse = steps[i] > 0 ? 1 / steps[i] : 0;
    for (size_t k = last; k-- > first;) {
      const float* f = factor.row(k).data();
      const auto weight = static_cast<float>(weights(i, k));
      const float wanted = weight + carried(i, k) / f[k];
      const float code = std::clamp(std::round(wanted * inverse), -kLargestWeight, kLargestWeight);
      codes(i, k) = code + 0.f;  // no negative zeros
      const float error = weight - steps[i] * code;
      errors(i, k - first) = error;
      for (size_t j = first; j < k; ++j) carried(i, j) += error * f[j];
    }
  }
}

void round_rows(MatrixView<const double> weights, const Matrix<float>& factor,
                std::span<const float> steps, MatrixView<float> codes) {
  Matrix<float> carried(weights.rows, weights.cols);  // sum over j behind k of error_j * factor_jk
  Matrix<float> buffer(weights.rows, kColumns);
  for (size_t last = weights.cols; last > 0;) {
    const size_t first = last - std::min(last, kColumns);
    const MatrixView<float> errors = buffer.view().col_range(0, last - first);
    round_columns(weights, factor, steps, first, last, carried, errors, codes);
    gemm(Trans::no, Trans::no, 1.f, errors,
         factor.view().row_range(first, last - first).col_range(0, first), 1.f,
         carried.view().col_range(0, first));
    last = first;
  }
}

}  // namespace

Matrix<float> round_weights(const Matrix<double>& weights, const Matrix<double>& factor,
                            std::span<const float> steps) {
  Matrix<float> codes(weights.rows(), weights.cols()), f(factor.rows(), factor.cols());
  std::copy(factor.flat().begin(), factor.flat().end(), f.data());
  parallel_chunks(weights.rows(), kRows, [&](size_t first, size_t n) {
    round_rows(weights.view().row_range(first, n), f, steps.subspan(first, n),
               codes.view().row_range(first, n));
  });
  return codes;
}

}  // namespace kvsplice::codec::layers
