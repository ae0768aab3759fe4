#include "functions/dct_kernel.h"

// Butterflies are structs of vectors; vectors of unknown length cannot be in structs.
#define HWY_DISABLED_TARGETS (HWY_SVE | HWY_SVE2 | HWY_SVE_256 | HWY_SVE2_128 | HWY_RVV)
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "functions/dct_kernel.cc"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "functions/dct_kernel-inl.h"

#if HWY_ONCE
namespace kvsplice::dct_kernel {

HWY_EXPORT(fourier);

void fourier(size_t n, const float* cosine, const float* sine, float* re, float* im) {
  HWY_DYNAMIC_DISPATCH(fourier)(n, cosine, sine, re, im);
}

void reference::fourier(size_t n, const float* cosine, const float* sine, float* re, float* im) {
  for (size_t half = 1; half < n; half *= 2) {
    for (size_t a = 0; a < n; ++a) {
      if (a & half) continue;
      const size_t k = (a & (half - 1)) * (n / (2 * half));
      for (size_t i = 0; i < kColumns; ++i) {
        float &ar = re[a * kColumns + i], &ai = im[a * kColumns + i];
        float &br = re[(a + half) * kColumns + i], &bi = im[(a + half) * kColumns + i];
        const float wr = cosine[k] * br + sine[k] * bi, wi = cosine[k] * bi - sine[k] * br;
        br = ar - wr, bi = ai - wi;
        ar += wr, ai += wi;
      }
    }
  }
}

}  // namespace kvsplice::dct_kernel
#endif  // HWY_ONCE
