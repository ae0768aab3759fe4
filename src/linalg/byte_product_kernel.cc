#include "linalg/byte_product_kernel.h"

#include <algorithm>
#include <cmath>
#include <vector>

// Their vectors have no size known to the compiler, so there are no arrays of them.
#undef HWY_DISABLED_TARGETS
#define HWY_DISABLED_TARGETS (HWY_SVE | HWY_SVE2 | HWY_SVE_256 | HWY_SVE2_128 | HWY_RVV)
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "linalg/byte_product_kernel.cc"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "linalg/byte_product_kernel-inl.h"

#if HWY_ONCE
namespace kvsplice::byte_product_kernel {

HWY_EXPORT(multiply);
HWY_EXPORT(round_row);
HWY_EXPORT(round_pair);

void multiply(const Product& product) {
  // No weights, and no place in them to point at.
  if (product.quads == 0) return reference::multiply(product);
  HWY_DYNAMIC_DISPATCH(multiply)(product);
}

float round_row(const float* x, const float* factor, size_t n, int8_t* to) {
  return HWY_DYNAMIC_DISPATCH(round_row)(x, factor, n, to);
}

float round_pair(const float* x, const float* factor, size_t n, int8_t* high, int8_t* low) {
  return HWY_DYNAMIC_DISPATCH(round_pair)(x, factor, n, high, low);
}

namespace reference {

void multiply(const Product& p) {
  for (size_t r = 0; r < p.rows; ++r) {
    for (size_t k = 0; k < p.cols; ++k) {
      int32_t sum = 0;
      for (size_t i = 0; i < kQuad * p.quads; ++i) {
        const uint8_t stored = p.weights[place(k, i, p.quads)];
        sum += p.a[r * p.a_step + i] * (int32_t{stored} - kOffset);
      }
      const float made = static_cast<float>(sum) * p.scale[r] * p.column_scale[k];
      float& c = p.c[r * p.c_step + k];
      c = p.add ? c + made : made;
    }
  }
}

float round_pair(const float* x, const float* factor, size_t n, int8_t* high, int8_t* low) {
  float peak = 0;
  for (size_t i = 0; i < n; ++i) peak = std::max(peak, std::abs(x[i] * factor[i]));
  const float inverse = 127 / peak;
  const bool some = peak < INFINITY && inverse < INFINITY;
  for (size_t i = 0; i < n; ++i) {
    const float v = some ? x[i] * factor[i] * inverse : 0, whole = std::nearbyint(v);
    high[i] = static_cast<int8_t>(whole);
    low[i] = static_cast<int8_t>(std::nearbyint(kLowSteps * (v - whole)));
  }
  return some ? peak / 127 : 0;
}

float round_row(const float* x, const float* factor, size_t n, int8_t* to) {
  std::vector<int8_t> low(n);
  return round_pair(x, factor, n, to, low.data());
}

}  // namespace reference

}  // namespace kvsplice::byte_product_kernel
#endif
