// Softmax in place: plain pointers and sizes.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>

namespace kvsplice::softmax_kernel {

// x_i = exp(x_i) / sum_j exp(x_j); n >= 1. Relative error below 1e-5 where the result is above
// 1e-30; below it may be 0.
void softmax(float* x, size_t n);

namespace reference {

inline void softmax(float* x, size_t n) {
  const float top = *std::max_element(x, x + n);
  double sum = 0;
  for (size_t i = 0; i < n; ++i) sum += x[i] = std::exp(x[i] - top);
  const auto scale = static_cast<float>(1 / sum);
  for (size_t i = 0; i < n; ++i) x[i] *= scale;
}

}  // namespace reference
}  // namespace kvsplice::softmax_kernel
