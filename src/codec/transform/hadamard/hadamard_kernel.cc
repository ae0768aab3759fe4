#include "codec/transform/hadamard/hadamard_kernel.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "codec/transform/hadamard/hadamard_kernel.cc"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "codec/transform/hadamard/hadamard_kernel-inl.h"

#if HWY_ONCE
#include <cmath>

namespace kvsplice::codec {

HWY_EXPORT(transform);

void hadamard(float* x, size_t blocks, size_t size) {
  HWY_DYNAMIC_DISPATCH(transform)(x, blocks, size);
}

void hadamard_reference(float* x, size_t blocks, size_t size) {
  const float scale = 1 / std::sqrt(static_cast<float>(size));
  for (size_t block = 0; block < blocks; ++block, x += size) {
    for (size_t i = 0; i < size; ++i) x[i] *= scale;
    for (size_t distance = 1; distance < size; distance *= 2) {
      for (size_t i = 0; i < size; ++i) {
        if (i & distance) continue;
        const float a = x[i], b = x[i + distance];
        x[i] = a + b;
        x[i + distance] = a - b;
      }
    }
  }
}

}  // namespace kvsplice::codec
#endif  // HWY_ONCE
