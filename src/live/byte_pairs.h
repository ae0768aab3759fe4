// Rows of floats as two rows of bytes each, for products of bytes: what the first leaves of a value
// is in the second, so that values keep fifteen bits.
#pragma once

#include <cstdint>
#include <vector>

#include "core/matrix.h"

namespace kvsplice::live {

class BytePairs {
 public:
  BytePairs(size_t rows, size_t cols);

  // values[i] * factors[i]; both of `cols` values.
  void set(size_t row, std::span<const float> values, std::span<const float> factors);

  // Of the values as they are kept: the largest magnitude, to one part in 127, and the sum.
  float largest(size_t row) const { return 127 * scales_[2 * row]; }
  float total(size_t row) const {
    return scales_[2 * row] * float(sums_[2 * row]) +
           scales_[2 * row + 1] * float(sums_[2 * row + 1]);
  }

  // out [rows x cols of out] = rows of [first, first + out.rows) times weights, as
  // linalg/byte_product_kernel.h has them, times column_scale. `scratch` has twice the size of out.
  void multiply(size_t first, const uint8_t* weights, const float* column_scale,
                MatrixView<float> out, std::vector<float>& scratch) const;

 private:
  size_t cols_, step_;
  std::vector<int8_t> bytes_;  // [2 rows x step], zeros behind the columns
  std::vector<float> scales_;
  std::vector<int32_t> sums_;  // of bytes
};

}  // namespace kvsplice::live
