#include "codec/quantise/exact/weigh_kernel.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "codec/quantise/exact/weigh_kernel.cc"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "codec/quantise/exact/weigh_kernel-inl.h"

#if HWY_ONCE

namespace kvsplice::codec::exact {

HWY_EXPORT(weigh);

void weigh(const int16_t* tile, size_t pairs, const int16_t* weights, size_t stride, size_t rows,
           int32_t* sums) {
  HWY_DYNAMIC_DISPATCH(weigh)(tile, pairs, weights, stride, rows, sums);
}

void weigh_reference(const int16_t* tile, size_t pairs, const int16_t* weights, size_t stride,
                     size_t rows, int32_t* sums) {
  for (size_t r = 0; r < rows; ++r) {
    for (size_t j = 0; j < 2 * pairs; ++j) {
      const int16_t* input = tile + (j / 2) * 2 * kTile + j % 2;
      for (size_t t = 0; t < kTile; ++t) {
        sums[r * kTile + t] += int32_t{weights[r * stride + j]} * input[2 * t];
      }
    }
  }
}

}  // namespace kvsplice::codec::exact
#endif  // HWY_ONCE
