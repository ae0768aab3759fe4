// Body of the Walsh-Hadamard transform, compiled once per SIMD target (see hadamard_kernel.cc).
#if defined(KVSPLICE_CODEC_HADAMARD_KERNEL_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef KVSPLICE_CODEC_HADAMARD_KERNEL_INL_H_
#undef KVSPLICE_CODEC_HADAMARD_KERNEL_INL_H_
#else
#define KVSPLICE_CODEC_HADAMARD_KERNEL_INL_H_
#endif

#include <hwy/highway.h>

#include <cmath>

#include "codec/transform/hadamard/hadamard_kernel.h"

HWY_BEFORE_NAMESPACE();
namespace kvsplice::codec::HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

#if HWY_TARGET == HWY_SCALAR

HWY_NOINLINE void transform(float* x, size_t blocks, size_t size) {
  hadamard_reference(x, blocks, size);
}

#else

// Sums and differences of values `distance` apart; the lanes of D divide the distance.
template <class D>
HWY_INLINE void butterflies(D d, float* x, size_t size, size_t distance) {
  for (size_t first = 0; first < size; first += 2 * distance) {
    for (size_t i = first; i < first + distance; i += hn::Lanes(d)) {
      const auto a = hn::LoadU(d, x + i);
      const auto b = hn::LoadU(d, x + i + distance);
      hn::StoreU(hn::Add(a, b), d, x + i);
      hn::StoreU(hn::Sub(a, b), d, x + i + distance);
    }
  }
}

// Scales, then distances 1 and 2 within vectors of four: a pair is swapped, and added to itself
// with the sign of its second changed.
template <class D4>
HWY_INLINE void inner_butterflies(D4 d, float* x, size_t size, float scale) {
  HWY_ALIGN static constexpr float kOdd[4] = {0.f, -0.f, 0.f, -0.f};
  HWY_ALIGN static constexpr float kHigh[4] = {0.f, 0.f, -0.f, -0.f};
  const auto odd = hn::Load(d, kOdd), high = hn::Load(d, kHigh), factor = hn::Set(d, scale);
  for (size_t i = 0; i < size; i += 4) {
    auto v = hn::Mul(hn::LoadU(d, x + i), factor);
    v = hn::Add(hn::Shuffle2301(v), hn::Xor(v, odd));
    v = hn::Add(hn::Shuffle1032(v), hn::Xor(v, high));
    hn::StoreU(v, d, x + i);
  }
}

HWY_NOINLINE void transform(float* x, size_t blocks, size_t size) {
  if (size < 4) return hadamard_reference(x, blocks, size);
  const hn::ScalableTag<float> wide;
  const hn::FixedTag<float, 4> four;
  const float scale = 1 / std::sqrt(static_cast<float>(size));
  for (size_t block = 0; block < blocks; ++block, x += size) {
    inner_butterflies(four, x, size, scale);
    for (size_t distance = 4; distance < size; distance *= 2) {
      if (distance % hn::Lanes(wide) == 0) {
        butterflies(wide, x, size, distance);
      } else {
        butterflies(four, x, size, distance);
      }
    }
  }
}

#endif

}  // namespace kvsplice::codec::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // per-target include guard
