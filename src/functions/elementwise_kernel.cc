#include "functions/elementwise_kernel.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "functions/elementwise_kernel.cc"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "functions/elementwise_kernel-inl.h"

#if HWY_ONCE
namespace kvsplice::elementwise_kernel {

HWY_EXPORT(softplus);
HWY_EXPORT(gelu);
HWY_EXPORT(bounded_exp);
HWY_EXPORT(residual);
HWY_EXPORT(sum_of_squares);
HWY_EXPORT(adamw);

void softplus(const float* x, size_t n, float* value, float* derivative) {
  HWY_DYNAMIC_DISPATCH(softplus)(x, n, value, derivative);
}

void gelu(const float* x, const float* bias, size_t rows, size_t cols, float* value,
          float* derivative) {
  HWY_DYNAMIC_DISPATCH(gelu)(x, bias, rows, cols, value, derivative);
}

void bounded_exp(const float* x, size_t n, float* bounded, float* factor) {
  HWY_DYNAMIC_DISPATCH(bounded_exp)(x, n, bounded, factor);
}

double residual(float* y, const float* x, size_t n, float scale) {
  return HWY_DYNAMIC_DISPATCH(residual)(y, x, n, scale);
}

double sum_of_squares(const float* x, size_t n) {
  return HWY_DYNAMIC_DISPATCH(sum_of_squares)(x, n);
}

void adamw(const AdamWStep<float>& step, const float* g, float scale, size_t n, float* p, float* m,
           float* v) {
  HWY_DYNAMIC_DISPATCH(adamw)(step, g, scale, n, p, m, v);
}

}  // namespace kvsplice::elementwise_kernel
#endif
