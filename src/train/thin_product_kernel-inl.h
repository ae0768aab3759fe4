// Body of the kernel of thin products, compiled once per SIMD target.
#if defined(KVSPLICE_TRAIN_THIN_PRODUCT_KERNEL_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef KVSPLICE_TRAIN_THIN_PRODUCT_KERNEL_INL_H_
#undef KVSPLICE_TRAIN_THIN_PRODUCT_KERNEL_INL_H_
#else
#define KVSPLICE_TRAIN_THIN_PRODUCT_KERNEL_INL_H_
#endif

#include <hwy/highway.h>

#include "train/thin_product_kernel.h"

HWY_BEFORE_NAMESPACE();
namespace kvsplice::thin_product_kernel::HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;
using Tag = hn::ScalableTag<float>;
using Vector = hn::Vec<Tag>;

// Four rows of out, one vector or two of them wide. Rows that are not there repeat the last one.
template <bool kTwo>
HWY_INLINE void tile(const float* a, const float* b, const float* start, size_t rows, size_t inner,
                     size_t cols, float* out) {
  const Tag tag;
  const size_t next = kTwo ? hn::Lanes(tag) : 0;
  const size_t r1 = HWY_MIN(1, rows - 1), r2 = HWY_MIN(2, rows - 1), r3 = HWY_MIN(3, rows - 1);
  const float *a0 = a, *a1 = a + r1 * inner, *a2 = a + r2 * inner, *a3 = a + r3 * inner;
  const Vector zero = hn::Zero(tag);
  Vector l0 = start == nullptr ? zero : hn::LoadU(tag, start), l1 = l0, l2 = l0, l3 = l0;
  Vector h0 = start == nullptr ? zero : hn::LoadU(tag, start + next), h1 = h0, h2 = h0, h3 = h0;
  for (size_t i = 0; i < inner; ++i, b += cols) {
    const Vector v0 = hn::Set(tag, a0[i]), v1 = hn::Set(tag, a1[i]);
    const Vector v2 = hn::Set(tag, a2[i]), v3 = hn::Set(tag, a3[i]);
    const Vector low = hn::LoadU(tag, b);
    l0 = hn::MulAdd(v0, low, l0), l1 = hn::MulAdd(v1, low, l1);
    l2 = hn::MulAdd(v2, low, l2), l3 = hn::MulAdd(v3, low, l3);
    if constexpr (!kTwo) continue;
    const Vector high = hn::LoadU(tag, b + next);
    h0 = hn::MulAdd(v0, high, h0), h1 = hn::MulAdd(v1, high, h1);
    h2 = hn::MulAdd(v2, high, h2), h3 = hn::MulAdd(v3, high, h3);
  }
  const auto store = [&](Vector low, Vector high, size_t row) {
    hn::StoreU(low, tag, out + row * cols);
    if constexpr (kTwo) hn::StoreU(high, tag, out + row * cols + next);
  };
  store(l0, h0, 0), store(l1, h1, r1), store(l2, h2, r2), store(l3, h3, r3);
}

void multiply(const float* a, const float* b, const float* start, size_t rows, size_t inner,
              size_t cols, float* out) {
  // An empty `b` may have no address to step from.
  if (inner == 0) return reference::multiply(a, b, start, rows, inner, cols, out, 0);
  const size_t lanes = hn::Lanes(Tag());
  const auto start_at = [&](size_t c) { return start == nullptr ? nullptr : start + c; };
  size_t c = 0;
  for (size_t r = 0; r < rows; r += 4) {
    const size_t n = HWY_MIN(4, rows - r);
    const float* from = a + r * inner;
    float* to = out + r * cols;
    for (c = 0; c + 2 * lanes <= cols; c += 2 * lanes) {
      tile<true>(from, b + c, start_at(c), n, inner, cols, to + c);
    }
    if (c + lanes > cols) continue;
    tile<false>(from, b + c, start_at(c), n, inner, cols, to + c);
    c += lanes;
  }
  reference::multiply(a, b, start, rows, inner, cols, out, c);
}

}  // namespace kvsplice::thin_product_kernel::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
