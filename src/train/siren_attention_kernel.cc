#include "train/siren_attention_kernel.h"

// As siren_kernel.cc, whose panels these kernels share.
#define HWY_DISABLED_TARGETS (HWY_SVE | HWY_SVE2 | HWY_SVE_256 | HWY_SVE2_128 | HWY_RVV)
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "train/siren_attention_kernel.cc"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "train/siren_attention_kernel-inl.h"

#if HWY_ONCE
namespace kvsplice::siren_kernel {

HWY_EXPORT(sine_recurrence);
HWY_EXPORT(softmax_rows);
HWY_EXPORT(shrink_rows);

void sine_recurrence(const float* sine, const float* rise, const float* bend, size_t rows,
                     float* out) {
  HWY_DYNAMIC_DISPATCH(sine_recurrence)(sine, rise, bend, rows, out);
}

void softmax_rows(float* scores, size_t rows, const float* bias, float* top, float* sum,
                  float* shrink) {
  HWY_DYNAMIC_DISPATCH(softmax_rows)(scores, rows, bias, top, sum, shrink);
}

void shrink_rows(const float* shrink, size_t rows, float* sums) {
  HWY_DYNAMIC_DISPATCH(shrink_rows)(shrink, rows, sums);
}

}  // namespace kvsplice::siren_kernel
#endif  // HWY_ONCE
