// Body of the column-wise Fourier transform, compiled once per SIMD target (see dct_kernel.cc).
#if defined(KVSPLICE_FUNCTIONS_DCT_KERNEL_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef KVSPLICE_FUNCTIONS_DCT_KERNEL_INL_H_
#undef KVSPLICE_FUNCTIONS_DCT_KERNEL_INL_H_
#else
#define KVSPLICE_FUNCTIONS_DCT_KERNEL_INL_H_
#endif

#include <hwy/highway.h>

#include "functions/dct_kernel.h"

HWY_BEFORE_NAMESPACE();
namespace kvsplice::dct_kernel::HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

// One vector of columns of one row.
template <class V>
struct Complex {
  V re, im;
};

template <class V>
struct Twiddle {  // c - i s
  V c, s;
};

// (a, b) becomes (a + w b, a - w b).
template <class V>
HWY_INLINE void butterfly(const Twiddle<V>& w, Complex<V>& a, Complex<V>& b) {
  const V re = hn::MulAdd(w.s, b.im, hn::Mul(w.c, b.re));
  const V im = hn::NegMulAdd(w.s, b.re, hn::Mul(w.c, b.im));
  b = {hn::Sub(a.re, re), hn::Sub(a.im, im)};
  a = {hn::Add(a.re, re), hn::Add(a.im, im)};
}

void fourier(size_t n, const float* cosine, const float* sine, float* re, float* im) {
  const hn::CappedTag<float, kColumns> tag;
  using V = hn::Vec<decltype(tag)>;
  const auto load = [&](size_t at) {
    return Complex<V>{hn::Load(tag, re + at), hn::Load(tag, im + at)};
  };
  const auto store = [&](const Complex<V>& x, size_t at) {
    hn::Store(x.re, tag, re + at);
    hn::Store(x.im, tag, im + at);
  };
  const auto twiddle = [&](size_t k) {
    return Twiddle<V>{hn::Set(tag, cosine[k]), hn::Set(tag, sine[k])};
  };
  size_t half = 1;
  size_t log2 = 0;
  while (n >> (log2 + 1)) ++log2;
  if (log2 % 2 == 1) {  // the others go in pairs
    for (size_t at = 0; at < n * kColumns; at += 2 * kColumns) {
      for (size_t i = at; i < at + kColumns; i += hn::Lanes(tag)) {
        Complex<V> a = load(i), b = load(i + kColumns);
        butterfly(twiddle(0), a, b);
        store(a, i);
        store(b, i + kColumns);
      }
    }
    half = 2;
  }
  // Two levels at once: the strip is read and written half as often.
  for (; half < n; half *= 4) {
    const size_t stride = n / (4 * half), offset = half * kColumns;
    for (size_t block = 0; block < n; block += 4 * half) {
      for (size_t k = 0; k < half; ++k) {
        const auto inner = twiddle(2 * k * stride), outer = twiddle(k * stride),
                   outer_odd = twiddle((k + half) * stride);
        const size_t row = (block + k) * kColumns;
        for (size_t i = row; i < row + kColumns; i += hn::Lanes(tag)) {
          Complex<V> a = load(i), b = load(i + offset), c = load(i + 2 * offset),
                     d = load(i + 3 * offset);
          butterfly(inner, a, b);
          butterfly(inner, c, d);
          butterfly(outer, a, c);
          butterfly(outer_odd, b, d);
          store(a, i);
          store(b, i + offset);
          store(c, i + 2 * offset);
          store(d, i + 3 * offset);
        }
      }
    }
  }
}

}  // namespace kvsplice::dct_kernel::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
