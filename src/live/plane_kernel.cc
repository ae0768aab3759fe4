#include "live/plane_kernel.h"

// Their vectors have no size known to the compiler, so there are no arrays of them.
#undef HWY_DISABLED_TARGETS
#define HWY_DISABLED_TARGETS (HWY_SVE | HWY_SVE2 | HWY_SVE_256 | HWY_SVE2_128 | HWY_RVV)
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "live/plane_kernel.cc"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "live/plane_kernel-inl.h"

#if HWY_ONCE
namespace kvsplice::plane_kernel {

HWY_EXPORT(decode);
HWY_EXPORT(add_scores);
HWY_EXPORT(add_products);
HWY_EXPORT(to_floats);
HWY_EXPORT(to_weights);
HWY_EXPORT(add_sums);

void decode(const Columns& columns, const uint8_t* planes, int8_t* to) {
  HWY_DYNAMIC_DISPATCH(decode)(columns, planes, to);
}

void add_scores(const int8_t* levels, size_t count, RowsOf<const float> u, size_t heads,
                RowsOf<float> scores) {
  HWY_DYNAMIC_DISPATCH(add_scores)(levels, count, u, heads, scores);
}

void add_products(const float* rows, size_t count, RowsOf<const float> u, size_t heads,
                  RowsOf<float> scores) {
  HWY_DYNAMIC_DISPATCH(add_products)(rows, count, u, heads, scores);
}

void to_floats(const uint16_t* halves, size_t n, float* to) {
  HWY_DYNAMIC_DISPATCH(to_floats)(halves, n, to);
}

float to_weights(float* values, size_t n, float peak) {
  return HWY_DYNAMIC_DISPATCH(to_weights)(values, n, peak);
}

void add_sums(const int8_t* levels, size_t count, RowsOf<const float> weights, size_t heads,
              RowsOf<float> sums) {
  HWY_DYNAMIC_DISPATCH(add_sums)(levels, count, weights, heads, sums);
}

}  // namespace kvsplice::plane_kernel
#endif
