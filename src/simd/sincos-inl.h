// Sine and cosine of a vector in one go.
#if defined(KVSPLICE_SIMD_SINCOS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef KVSPLICE_SIMD_SINCOS_INL_H_
#undef KVSPLICE_SIMD_SINCOS_INL_H_
#else
#define KVSPLICE_SIMD_SINCOS_INL_H_
#endif

#include <hwy/highway.h>

HWY_BEFORE_NAMESPACE();
namespace kvsplice::simd::HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

// |x| <= 10,000: absolute error below 2e-7. Quarter turns n = round(x / (pi/2)) are found by adding
// 1.5 * 2^23, whose last bit has weight one, and taken off in three parts, the first two of 11
// bits, so that n * part is exact with and without fused multiply-add. On the rest, |r| <= pi/4,
// stand minimax polynomials: sine to 2e-9, cosine to 1e-10 before rounding.
template <class D, class V = hn::Vec<D>>
HWY_INLINE void sin_cos(D d, V x, V& sine, V& cosine) {
  const hn::RebindToSigned<D> di;
  const V round = hn::Set(d, 0x1.8p23f);
  const V shifted = hn::MulAdd(x, hn::Set(d, 0.636619772f), round);
  const auto turns = hn::BitCast(di, shifted);  // n in the low bits
  const V n = hn::Sub(shifted, round);
  V r = hn::NegMulAdd(n, hn::Set(d, 0x1.92p+0f), x);
  r = hn::NegMulAdd(n, hn::Set(d, 0x1.fb4p-12f), r);
  r = hn::NegMulAdd(n, hn::Set(d, 0x1.4442d2p-24f), r);

  const V u = hn::Mul(r, r);
  V s = hn::MulAdd(u, hn::Set(d, -1.9495e-4f), hn::Set(d, 8.33198e-3f));
  s = hn::MulAdd(u, s, hn::Set(d, -0.16666651f));
  s = hn::MulAdd(hn::Mul(s, u), r, r);
  V c = hn::MulAdd(u, hn::Set(d, 2.4438e-5f), hn::Set(d, -1.388736e-3f));
  c = hn::MulAdd(u, c, hn::Set(d, 4.1666646e-2f));
  c = hn::MulAdd(u, hn::MulAdd(u, c, hn::Set(d, -0.5f)), hn::Set(d, 1.0f));

  // Odd quarters swap the two; the signs follow bit 1 of the quarter (of quarter + 1 for cosine).
  const auto odd = hn::MaskFromVec(hn::BitCast(d, hn::ShiftRight<31>(hn::ShiftLeft<31>(turns))));
  const V top = hn::SignBit(d);
  const V sine_sign = hn::And(hn::BitCast(d, hn::ShiftLeft<30>(turns)), top);
  const auto next = hn::Add(turns, hn::Set(di, 1));
  const V cosine_sign = hn::And(hn::BitCast(d, hn::ShiftLeft<30>(next)), top);
  sine = hn::Xor(hn::IfThenElse(odd, c, s), sine_sign);
  cosine = hn::Xor(hn::IfThenElse(odd, s, c), cosine_sign);
}

}  // namespace kvsplice::simd::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
