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
HWY_EXPORT(decode_by_token);
HWY_EXPORT(decode_by_column);
HWY_EXPORT(add_in_order);
HWY_EXPORT(to_floats);
HWY_EXPORT(ask_rows);
HWY_EXPORT(add_rows);
HWY_EXPORT(to_weights);
HWY_EXPORT(largest);

void decode(const Columns& columns, const uint8_t* planes, int8_t* to) {
  HWY_DYNAMIC_DISPATCH(decode)(columns, planes, to);
}

void decode_by_token(const Columns& columns, const uint8_t* planes, uint8_t* to) {
  HWY_DYNAMIC_DISPATCH(decode_by_token)(columns, planes, to);
}

void decode_by_column(const Columns& columns, const uint8_t* planes, uint8_t* to) {
  HWY_DYNAMIC_DISPATCH(decode_by_column)(columns, planes, to);
}

void add_in_order(const float* products, const float* others, const uint8_t* order, float more,
                  float* to) {
  HWY_DYNAMIC_DISPATCH(add_in_order)(products, others, order, more, to);
}

void to_floats(const uint16_t* halves, size_t n, float* to) {
  HWY_DYNAMIC_DISPATCH(to_floats)(halves, n, to);
}

void ask_rows(const HalfRows& rows, const float* a, size_t count, float* to) {
  HWY_DYNAMIC_DISPATCH(ask_rows)(rows, a, count, to);
}

void add_rows(const HalfRows& rows, const float* weights, size_t count, float* to) {
  HWY_DYNAMIC_DISPATCH(add_rows)(rows, weights, count, to);
}

float largest(const float* values, size_t n) { return HWY_DYNAMIC_DISPATCH(largest)(values, n); }

float to_weights(float* values, size_t n, float peak) {
  return HWY_DYNAMIC_DISPATCH(to_weights)(values, n, peak);
}

}  // namespace kvsplice::plane_kernel
#endif
