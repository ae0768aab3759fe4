#include "live/rounded_rows.h"

#include <cassert>
#include <numeric>

#include "linalg/byte_product_kernel.h"

namespace kvsplice::live {

using byte_product_kernel::kQuad;

std::span<const float> ones(size_t n) {
  assert(n <= kMostOnes);
  static const std::vector<float> all(kMostOnes, 1.f);
  return std::span(all).first(n);
}

RoundedRows::RoundedRows(size_t rows, size_t cols, size_t bytes_a_value)
    : cols_(cols),
      step_((cols + kQuad - 1) / kQuad * kQuad),
      each_(bytes_a_value),
      bytes_(each_ * rows * step_),
      scales_(each_ * rows),
      sums_(each_ * rows) {
  assert(each_ == 1 || each_ == 2);
}

void RoundedRows::set(size_t row, std::span<const float> values, std::span<const float> factors) {
  if (cols_ == 0) return;
  const size_t at = row * each_;
  int8_t* high = &bytes_[at * step_];
  if (each_ == 1) {
    scales_[at] = byte_product_kernel::round_row(values.data(), factors.data(), cols_, high);
  } else {
    scales_[at] =
        byte_product_kernel::round_pair(values.data(), factors.data(), cols_, high, high + step_);
    scales_[at + 1] = scales_[at] / byte_product_kernel::kLowSteps;
  }
  for (size_t i = 0; i < each_; ++i, high += step_) {
    sums_[at + i] = std::accumulate(high, high + cols_, int32_t{0});
  }
}

float RoundedRows::total(size_t row) const {
  float total = 0;
  for (size_t i = row * each_; i < (row + 1) * each_; ++i) total += scales_[i] * float(sums_[i]);
  return total;
}

void RoundedRows::multiply(size_t first, const Weights& weights, MatrixView<float> out,
                           std::vector<float>& scratch) const {
  products(first, weights, out, false, scratch);
}

void RoundedRows::add_to(size_t first, const Weights& weights, MatrixView<float> out,
                         std::vector<float>& scratch) const {
  products(first, weights, out, true, scratch);
}

void RoundedRows::products(size_t first, const Weights& weights, MatrixView<float> out, bool add,
                           std::vector<float>& scratch) const {
  if (out.cols == 0) return;
  const size_t at = first * each_;
  byte_product_kernel::Product product{each_ * out.rows,
                                       step_ / kQuad,
                                       out.cols,
                                       bytes_.data() + at * step_,
                                       step_,
                                       weights.panels,
                                       &scales_[at],
                                       &sums_[at],
                                       weights.scale,
                                       out.data,
                                       out.stride,
                                       add};
  if (each_ == 1) return byte_product_kernel::multiply(product);
  scratch.resize(2 * out.rows * out.cols);
  product.c = scratch.data();
  product.c_step = out.cols;
  product.add = false;
  byte_product_kernel::multiply(product);
  for (size_t r = 0; r < out.rows; ++r) {
    const float *high = &scratch[2 * r * out.cols], *low = high + out.cols;
    float* to = out.row(r).data();
    for (size_t c = 0; c < out.cols; ++c) to[c] = (add ? to[c] : 0) + (high[c] + low[c]);
  }
}

}  // namespace kvsplice::live
