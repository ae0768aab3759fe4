// Rows of floats as bytes, for products of bytes: one byte a value, or two, the second of which is
// what the first leaves, so that values keep fifteen bits.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "core/matrix.h"

namespace kvsplice::live {

// Weights of linalg/byte_product_kernel.h: [cols x as many as rows have columns].
struct Weights {
  const uint8_t* panels;
  const float* scale;  // of each column
};

// Factors, or scales, that change nothing: n of them.
constexpr size_t kMostOnes = 256;
std::span<const float> ones(size_t n);

class RoundedRows {
 public:
  RoundedRows(size_t rows, size_t cols, size_t bytes_a_value);

  // values[i] * factors[i]; both of `cols` values.
  void set(size_t row, std::span<const float> values, std::span<const float> factors);

  // Of the values as they are kept: the largest magnitude, to one part in 127, and the sum.
  float largest(size_t row) const { return 127 * scales_[row * each_]; }
  float total(size_t row) const;

  // out [rows x cols of the weights] = rows of [first, first + out.rows) times weights; `add_to`
  // adds instead. `scratch` grows to twice the size of out.
  void multiply(size_t first, const Weights& weights, MatrixView<float> out,
                std::vector<float>& scratch) const;
  void add_to(size_t first, const Weights& weights, MatrixView<float> out,
              std::vector<float>& scratch) const;

 private:
  void products(size_t first, const Weights& weights, MatrixView<float> out, bool add,
                std::vector<float>& scratch) const;

  size_t cols_, step_, each_;
  std::vector<int8_t> bytes_;  // [each_ rows for each x step], zeros behind the columns
  std::vector<float> scales_;
  std::vector<int32_t> sums_;  // of bytes
};

}  // namespace kvsplice::live
