// Body of the sums of products, compiled once per SIMD target (see weigh_kernel.cc).
#if defined(KVSPLICE_CODEC_EXACT_WEIGH_KERNEL_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef KVSPLICE_CODEC_EXACT_WEIGH_KERNEL_INL_H_
#undef KVSPLICE_CODEC_EXACT_WEIGH_KERNEL_INL_H_
#else
#define KVSPLICE_CODEC_EXACT_WEIGH_KERNEL_INL_H_
#endif

#include <hwy/highway.h>

#include <cstring>

#include "codec/quantise/exact/weigh_kernel.h"

HWY_BEFORE_NAMESPACE();
namespace kvsplice::codec::exact::HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

#if HWY_TARGET == HWY_SCALAR

HWY_NOINLINE void weigh(const int16_t* tile, size_t pairs, const int16_t* weights, size_t stride,
                        size_t rows, int32_t* sums) {
  weigh_reference(tile, pairs, weights, stride, rows, sums);
}

#else

HWY_INLINE int32_t load_pair(const int16_t* weights) {
  int32_t both;
  std::memcpy(&both, weights, sizeof both);
  return both;
}

// sum + the products of two neighbours, lane by lane. With x86's instructions that is what
// Highway's widening accumulation does; elsewhere, and without SIMD, it may add up other lanes, so
// the halves are taken apart.
template <class D, class V16, class V>
HWY_INLINE V add_products(D d, V16 x, V16 w, V sum) {
#if HWY_ARCH_X86 && HWY_TARGET != HWY_EMU128
  V unused = hn::Zero(d);
  return hn::ReorderWidenMulAccumulate(d, x, w, sum, unused);
#else
  const auto a = hn::BitCast(d, x), b = hn::BitCast(d, w);
  const auto low = [](V v) HWY_ATTR { return hn::ShiftRight<16>(hn::ShiftLeft<16>(v)); };
  const auto high = hn::Mul(hn::ShiftRight<16>(a), hn::ShiftRight<16>(b));
  return hn::Add(sum, hn::Add(high, hn::Mul(low(a), low(b))));
#endif
}

// kRows rows of two vectors of tokens, in registers. D: 32-bit lanes, a tile holds 2, 4, ...
// vectors of them or one, when the second vector is not used.
template <size_t kRows, bool kTwo, class D>
HWY_INLINE void weigh_rows(D d, const int16_t* tile, size_t pairs, const int16_t* weights,
                           size_t stride, int32_t* sums) {
  const hn::Repartition<int16_t, D> d16;
  const size_t lanes = hn::Lanes(d);
  using V = hn::Vec<D>;
  V a0 = hn::LoadU(d, sums), a1 = a0, a2 = a0, a3 = a0;
  V b0 = a0, b1 = a0, b2 = a0, b3 = a0;
  if constexpr (kTwo) b0 = hn::LoadU(d, sums + lanes);
  if constexpr (kRows > 1) a1 = hn::LoadU(d, sums + kTile);
  if constexpr (kRows > 1 && kTwo) b1 = hn::LoadU(d, sums + kTile + lanes);
  if constexpr (kRows > 2) {
    a2 = hn::LoadU(d, sums + 2 * kTile);
    a3 = hn::LoadU(d, sums + 3 * kTile);
    if constexpr (kTwo) {
      b2 = hn::LoadU(d, sums + 2 * kTile + lanes);
      b3 = hn::LoadU(d, sums + 3 * kTile + lanes);
    }
  }
  for (size_t p = 0; p < pairs; ++p) {
    const auto x = hn::LoadU(d16, tile + 2 * kTile * p);
    const auto y = kTwo ? hn::LoadU(d16, tile + 2 * kTile * p + 2 * lanes) : x;
    const auto add = [&](size_t row, V& a, V& b) HWY_ATTR {
      const auto w = hn::BitCast(d16, hn::Set(d, load_pair(weights + row * stride + 2 * p)));
      a = add_products(d, x, w, a);
      if constexpr (kTwo) b = add_products(d, y, w, b);
    };
    add(0, a0, b0);
    if constexpr (kRows > 1) add(1, a1, b1);
    if constexpr (kRows > 2) {
      add(2, a2, b2);
      add(3, a3, b3);
    }
  }
  hn::StoreU(a0, d, sums);
  if constexpr (kTwo) hn::StoreU(b0, d, sums + lanes);
  if constexpr (kRows > 1) hn::StoreU(a1, d, sums + kTile);
  if constexpr (kRows > 1 && kTwo) hn::StoreU(b1, d, sums + kTile + lanes);
  if constexpr (kRows > 2) {
    hn::StoreU(a2, d, sums + 2 * kTile);
    hn::StoreU(a3, d, sums + 3 * kTile);
    if constexpr (kTwo) {
      hn::StoreU(b2, d, sums + 2 * kTile + lanes);
      hn::StoreU(b3, d, sums + 3 * kTile + lanes);
    }
  }
}

template <bool kTwo, class D>
HWY_INLINE void weigh_tokens(D d, const int16_t* tile, size_t pairs, const int16_t* weights,
                             size_t stride, size_t rows, int32_t* sums) {
  size_t r = 0;
  for (; r + 4 <= rows; r += 4) {
    weigh_rows<4, kTwo>(d, tile, pairs, weights + r * stride, stride, sums + r * kTile);
  }
  for (; r + 2 <= rows; r += 2) {
    weigh_rows<2, kTwo>(d, tile, pairs, weights + r * stride, stride, sums + r * kTile);
  }
  for (; r < rows; ++r) {
    weigh_rows<1, kTwo>(d, tile, pairs, weights + r * stride, stride, sums + r * kTile);
  }
}

HWY_NOINLINE void weigh(const int16_t* tile, size_t pairs, const int16_t* weights, size_t stride,
                        size_t rows, int32_t* sums) {
  const hn::CappedTag<int32_t, kTile> d;
  const size_t lanes = hn::Lanes(d);
  size_t t = 0;
  for (; t + 2 * lanes <= kTile; t += 2 * lanes) {
    weigh_tokens<true>(d, tile + 2 * t, pairs, weights, stride, rows, sums + t);
  }
  for (; t < kTile; t += lanes) {
    weigh_tokens<false>(d, tile + 2 * t, pairs, weights, stride, rows, sums + t);
  }
}

#endif

}  // namespace kvsplice::codec::exact::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // per-target include guard
