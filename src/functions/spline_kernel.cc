#include "functions/spline_kernel.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "functions/spline_kernel.cc"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "functions/spline_kernel-inl.h"

#if HWY_ONCE
namespace kvsplice::spline_kernel {

HWY_EXPORT(map);
HWY_EXPORT(map_error);
HWY_EXPORT(add_bend_sums);
HWY_EXPORT(count_above);

void map(const Pieces<float>& pieces, const float* in, size_t in_stride, float* out,
         size_t out_stride, size_t rows) {
  HWY_DYNAMIC_DISPATCH(map)(pieces, in, in_stride, out, out_stride, rows);
}

double map_error(const Pieces<float>& pieces, const float* in, const float* x, size_t rows,
                 float weight, float* out, float* g) {
  return HWY_DYNAMIC_DISPATCH(map_error)(pieces, in, x, rows, weight, out, g);
}

void add_bend_sums(const Bends<float>& bends, const float* x, size_t x_stride, const float* g,
                   size_t g_stride, size_t rows, float weight, float* sums) {
  HWY_DYNAMIC_DISPATCH(add_bend_sums)(bends, x, x_stride, g, g_stride, rows, weight, sums);
}

void count_above(const Pieces<float>& pieces, const float* in, size_t stride, size_t rows,
                 float* counts) {
  HWY_DYNAMIC_DISPATCH(count_above)(pieces, in, stride, rows, counts);
}

}  // namespace kvsplice::spline_kernel
#endif
