#include "live/byte_pairs.h"

#include <numeric>

#include "linalg/byte_product_kernel.h"

namespace kvsplice::live {

using byte_product_kernel::kQuad;

BytePairs::BytePairs(size_t rows, size_t cols)
    : cols_(cols),
      step_((cols + kQuad - 1) / kQuad * kQuad),
      bytes_(2 * rows * step_),
      scales_(2 * rows),
      sums_(2 * rows) {}

void BytePairs::set(size_t row, std::span<const float> values, std::span<const float> factors) {
  if (cols_ == 0) return;
  int8_t* high = &bytes_[2 * row * step_];
  const float scale =
      byte_product_kernel::round_pair(values.data(), factors.data(), cols_, high, high + step_);
  scales_[2 * row] = scale;
  scales_[2 * row + 1] = scale / byte_product_kernel::kLowSteps;
  for (size_t i = 0; i < 2; ++i, high += step_) {
    sums_[2 * row + i] = std::accumulate(high, high + cols_, int32_t{0});
  }
}

void BytePairs::multiply(size_t first, const uint8_t* weights, const float* column_scale,
                         MatrixView<float> out, std::vector<float>& scratch) const {
  if (cols_ == 0 || out.cols == 0) {
    for (size_t r = 0; r < out.rows; ++r) std::fill(out.row(r).begin(), out.row(r).end(), 0.f);
    return;
  }
  scratch.resize(2 * out.rows * out.cols);
  byte_product_kernel::multiply({2 * out.rows, step_ / kQuad, out.cols, &bytes_[2 * first * step_],
                                 step_, weights, &scales_[2 * first], &sums_[2 * first],
                                 column_scale, scratch.data(), out.cols});
  for (size_t r = 0; r < out.rows; ++r) {
    const float *high = &scratch[2 * r * out.cols], *low = high + out.cols;
    for (size_t c = 0; c < out.cols; ++c) out(r, c) = high[c] + low[c];
  }
}

}  // namespace kvsplice::live
