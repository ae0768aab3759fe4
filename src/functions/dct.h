// Cosine transform (DCT-II, orthonormal) along the rows of a matrix, column by column.
#pragma once

#include <optional>
#include <span>
#include <vector>

#include "core/aligned.h"
#include "core/matrix.h"
#include "functions/dft.h"

namespace kvsplice::functions {

class Dct {
 public:
  explicit Dct(size_t n);  // rows, n >= 1; any length in O(n log n)

  size_t size() const { return n_; }

  // X_k = s_k sum_t x_t cos(pi k (2t + 1) / 2n), s_0 = sqrt(1/n), else sqrt(2/n). x: [n x d].
  Matrix<float> forward(MatrixView<const float> x) const;

  // The inverse from the coefficients `kept` (ascending, below n), the others zero:
  // coefficients [kept.size() x d] -> [n x d].
  Matrix<float> inverse(std::span<const uint32_t> kept, MatrixView<const float> coefficients) const;

 private:
  void fourier(float* re, float* im) const;  // of a strip, rows at place_

  size_t n_;
  std::vector<uint32_t> place_;         // row that sample t goes to before the Fourier transform
  AlignedVector<float> cosine_, sine_;  // of 2 pi k / n
  std::optional<Dft> dft_;              // for lengths that are no power of two
};

// The `count` rows that hold most energy over all columns, ascending.
std::vector<uint32_t> strongest_rows(MatrixView<const float> coefficients, size_t count);

// Rows of the transform, from the lowest, that hold `share` of the energy of all but the first (the
// mean): a measure of bandwidth. 1 ... n - 1; 0 for constant columns.
size_t bandwidth(MatrixView<const float> coefficients, double share);

}  // namespace kvsplice::functions
