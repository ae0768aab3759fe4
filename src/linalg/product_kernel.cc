#include "linalg/product_kernel.h"

#include <algorithm>
#include <cmath>

// Their vectors have no size known to the compiler, so there are no arrays of them.
#undef HWY_DISABLED_TARGETS
#define HWY_DISABLED_TARGETS (HWY_SVE | HWY_SVE2 | HWY_SVE_256 | HWY_SVE2_128 | HWY_RVV)
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "linalg/product_kernel.cc"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "linalg/product_kernel-inl.h"

#if HWY_ONCE
namespace kvsplice::product_kernel {

HWY_EXPORT(multiply);

void multiply(const Product& product) {
  Product p = product;
  // Without terms there may be no data, and nothing that an offset could be added to.
  static constexpr float kNothing = 0;
  if (p.inner == 0) p.a = p.b = {&kNothing, 0, 0};
  HWY_DYNAMIC_DISPATCH(multiply)(p);
}

namespace reference {

void multiply(const Product& p) {
  for (size_t r = 0; r < p.rows; ++r) {
    for (size_t c = 0; c < p.cols; ++c) {
      float& out = p.c[r * p.c_step + c];
      float beta = p.beta;
      for (size_t first = 0; first == 0 || first < p.inner; first += kInner) {
        float sum = 0;
        for (size_t i = first; i < std::min(first + kInner, p.inner); ++i) {
          sum = std::fma(p.a.data[r * p.a.down + i * p.a.right],
                         p.b.data[i * p.b.down + c * p.b.right], sum);
        }
        out = beta == 0 ? p.alpha * sum : std::fma(p.alpha, sum, beta * out);
        beta = 1;
      }
    }
  }
}

}  // namespace reference

}  // namespace kvsplice::product_kernel
#endif
