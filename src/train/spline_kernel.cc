#include "train/spline_kernel.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "train/spline_kernel.cc"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "train/spline_kernel-inl.h"

#if HWY_ONCE
namespace kvsplice::spline_kernel {

HWY_EXPORT(map);
HWY_EXPORT(map_backward);

void map(const Pieces<float>& pieces, const float* in, size_t in_stride, float* out,
         size_t out_stride, size_t rows) {
  HWY_DYNAMIC_DISPATCH(map)(pieces, in, in_stride, out, out_stride, rows);
}

void map_backward(const Pieces<float>& pieces, const float* in, size_t in_stride, float* g,
                  size_t g_stride, size_t rows, bool to_input, float* moments, float* totals) {
  HWY_DYNAMIC_DISPATCH(map_backward)
  (pieces, in, in_stride, g, g_stride, rows, to_input, moments, totals);
}

}  // namespace kvsplice::spline_kernel
#endif
