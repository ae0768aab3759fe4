#include "functions/siren_kernel.h"

// Tiles are arrays of vectors; vectors of unknown length cannot be in arrays.
#define HWY_DISABLED_TARGETS (HWY_SVE | HWY_SVE2 | HWY_SVE_256 | HWY_SVE2_128 | HWY_RVV)
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "functions/siren_kernel.cc"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "functions/siren_kernel-inl.h"

#if HWY_ONCE
namespace kvsplice::siren_kernel {

HWY_EXPORT(width);
HWY_EXPORT(product);
HWY_EXPORT(outer);
HWY_EXPORT(sine_rows);
HWY_EXPORT(multiply);
HWY_EXPORT(add_columns);
HWY_EXPORT(residual);
HWY_EXPORT(adam);

size_t panel_width(float) { return HWY_DYNAMIC_DISPATCH(width)(); }

void product(const float* a, size_t rows, size_t depth, const float* weights, float* out) {
  HWY_DYNAMIC_DISPATCH(product)(a, rows, depth, weights, out);
}

void outer(const float* a, size_t width, size_t rows, const float* d, float* sum) {
  HWY_DYNAMIC_DISPATCH(outer)(a, width, rows, d, sum);
}

void sine_rows(const float* z, size_t rows, const float* bias, float omega, float* sine,
               float* cosine) {
  HWY_DYNAMIC_DISPATCH(sine_rows)(z, rows, bias, omega, sine, cosine);
}

void multiply(const float* c, size_t n, float* d) { HWY_DYNAMIC_DISPATCH(multiply)(c, n, d); }

void add_columns(const float* d, size_t rows, float* sum) {
  HWY_DYNAMIC_DISPATCH(add_columns)(d, rows, sum);
}

double residual(float* prediction, size_t rows, const float* bias, const float* target,
                float scale) {
  return HWY_DYNAMIC_DISPATCH(residual)(prediction, rows, bias, target, scale);
}

void adam(const AdamStep<float>& step, const float* g, float scale, size_t n, float* p, float* m,
          float* v) {
  HWY_DYNAMIC_DISPATCH(adam)(step, g, scale, n, p, m, v);
}

}  // namespace kvsplice::siren_kernel
#endif  // HWY_ONCE
