#include "simd/limits_kernel.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "simd/limits_kernel.cc"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "simd/limits_kernel-inl.h"

#if HWY_ONCE

namespace kvsplice {

HWY_EXPORT(sum);
HWY_EXPORT(negate);
HWY_EXPORT(chains);
HWY_EXPORT(chain_values);
HWY_EXPORT(target_name);

float sum_values(const float* x, size_t n) { return HWY_DYNAMIC_DISPATCH(sum)(x, n); }

void negate_values(float* x, size_t n) { HWY_DYNAMIC_DISPATCH(negate)(x, n); }

void fma_rounds(size_t rounds, float factor, float term, float* state) {
  HWY_DYNAMIC_DISPATCH(chains)(rounds, factor, term, state);
}

size_t fma_values() { return HWY_DYNAMIC_DISPATCH(chain_values)(); }

const char* simd_target_name() { return HWY_DYNAMIC_DISPATCH(target_name)(); }

}  // namespace kvsplice
#endif  // HWY_ONCE
