// Body of the column-wise Fourier transform, compiled once per SIMD target (see dct_kernel.cc).
#if defined(KVSPLICE_TRAIN_DCT_KERNEL_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef KVSPLICE_TRAIN_DCT_KERNEL_INL_H_
#undef KVSPLICE_TRAIN_DCT_KERNEL_INL_H_
#else
#define KVSPLICE_TRAIN_DCT_KERNEL_INL_H_
#endif

#include <hwy/highway.h>

#include "train/dct_kernel.h"

HWY_BEFORE_NAMESPACE();
namespace kvsplice::dct_kernel::HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

// (a, b) becomes (a + w b, a - w b) for one row of columns; w = c - i s.
HWY_INLINE void butterfly(float c, float s, float* re_a, float* im_a, float* re_b, float* im_b) {
  const hn::CappedTag<float, kColumns> tag;
  const auto vc = hn::Set(tag, c), vs = hn::Set(tag, s);
  for (size_t i = 0; i < kColumns; i += hn::Lanes(tag)) {
    const auto br = hn::Load(tag, re_b + i), bi = hn::Load(tag, im_b + i);
    const auto wr = hn::MulAdd(vs, bi, hn::Mul(vc, br));
    const auto wi = hn::NegMulAdd(vs, br, hn::Mul(vc, bi));
    const auto ar = hn::Load(tag, re_a + i), ai = hn::Load(tag, im_a + i);
    hn::Store(hn::Add(ar, wr), tag, re_a + i);
    hn::Store(hn::Add(ai, wi), tag, im_a + i);
    hn::Store(hn::Sub(ar, wr), tag, re_b + i);
    hn::Store(hn::Sub(ai, wi), tag, im_b + i);
  }
}

void fourier(size_t n, const float* cosine, const float* sine, float* re, float* im) {
  for (size_t half = 1; half < n; half *= 2) {
    const size_t stride = n / (2 * half), offset = half * kColumns;
    for (size_t block = 0; block < n; block += 2 * half) {
      float* r = re + block * kColumns;
      float* i = im + block * kColumns;
      for (size_t k = 0; k < half; ++k, r += kColumns, i += kColumns) {
        butterfly(cosine[k * stride], sine[k * stride], r, i, r + offset, i + offset);
      }
    }
  }
}

}  // namespace kvsplice::dct_kernel::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
