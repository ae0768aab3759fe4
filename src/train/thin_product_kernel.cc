#include "train/thin_product_kernel.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "train/thin_product_kernel.cc"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "train/thin_product_kernel-inl.h"

#if HWY_ONCE
namespace kvsplice::thin_product_kernel {

HWY_EXPORT(multiply);

void multiply(const float* a, const float* b, const float* start, size_t rows, size_t inner,
              size_t cols, float* out) {
  HWY_DYNAMIC_DISPATCH(multiply)(a, b, start, rows, inner, cols, out);
}

}  // namespace kvsplice::thin_product_kernel
#endif
