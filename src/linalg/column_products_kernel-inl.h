// Body of the kernel of products of columns, compiled once per SIMD target.
#if defined(KVSPLICE_LINALG_COLUMN_PRODUCTS_KERNEL_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef KVSPLICE_LINALG_COLUMN_PRODUCTS_KERNEL_INL_H_
#undef KVSPLICE_LINALG_COLUMN_PRODUCTS_KERNEL_INL_H_
#else
#define KVSPLICE_LINALG_COLUMN_PRODUCTS_KERNEL_INL_H_
#endif

#include <hwy/highway.h>

#include "linalg/column_products_kernel.h"

HWY_BEFORE_NAMESPACE();
namespace kvsplice::column_products_kernel::HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

#if HWY_HAVE_FLOAT64

using Tag = hn::ScalableTag<double>;
using Vector = hn::Vec<Tag>;

// Four columns of x by one vector of columns of y, or by two. Columns of x that are not there
// repeat the last one; all is read before anything is written.
template <bool kTwo>
HWY_INLINE void tile(size_t rows, const Columns& x, const Columns& y, double sign, double* out,
                     size_t stride) {
  const Tag tag;
  const size_t next = kTwo ? hn::Lanes(tag) : 0;
  const size_t i1 = HWY_MIN(1, x.count - 1), i2 = HWY_MIN(2, x.count - 1),
               i3 = HWY_MIN(3, x.count - 1);
  const Vector zero = hn::Zero(tag);
  Vector l0 = zero, l1 = zero, l2 = zero, l3 = zero;
  Vector h0 = zero, h1 = zero, h2 = zero, h3 = zero;
  const double *a = x.data, *b = y.data;
  for (size_t r = 0; r < rows; ++r, a += x.stride, b += y.stride) {
    const Vector v0 = hn::Set(tag, a[0]), v1 = hn::Set(tag, a[i1]);
    const Vector v2 = hn::Set(tag, a[i2]), v3 = hn::Set(tag, a[i3]);
    const Vector low = hn::LoadU(tag, b);
    l0 = hn::MulAdd(v0, low, l0), l1 = hn::MulAdd(v1, low, l1);
    l2 = hn::MulAdd(v2, low, l2), l3 = hn::MulAdd(v3, low, l3);
    if constexpr (!kTwo) continue;
    const Vector high = hn::LoadU(tag, b + next);
    h0 = hn::MulAdd(v0, high, h0), h1 = hn::MulAdd(v1, high, h1);
    h2 = hn::MulAdd(v2, high, h2), h3 = hn::MulAdd(v3, high, h3);
  }
  const Vector factor = hn::Set(tag, sign);
  const auto added = [&](Vector sum, size_t i, size_t at) {
    return hn::MulAdd(factor, sum, hn::LoadU(tag, out + i * stride + at));
  };
  l0 = added(l0, 0, 0), l1 = added(l1, i1, 0), l2 = added(l2, i2, 0), l3 = added(l3, i3, 0);
  if constexpr (kTwo) {
    h0 = added(h0, 0, next), h1 = added(h1, i1, next);
    h2 = added(h2, i2, next), h3 = added(h3, i3, next);
  }
  const auto store = [&](Vector low, Vector high, size_t i) {
    hn::StoreU(low, tag, out + i * stride);
    if constexpr (kTwo) hn::StoreU(high, tag, out + i * stride + next);
  };
  store(l0, h0, 0), store(l1, h1, i1), store(l2, h2, i2), store(l3, h3, i3);
}

void add(size_t rows, const Columns& x, const Columns& y, double sign, double* out, size_t stride) {
  const size_t lanes = hn::Lanes(Tag());
  const auto from = [](const Columns& c, size_t first) {
    return Columns{c.data + first, c.stride, c.count - first};
  };
  size_t j = 0;
  for (; j + lanes <= y.count; j += j + 2 * lanes <= y.count ? 2 * lanes : lanes) {
    for (size_t i = 0; i < x.count; i += 4) {
      Columns four = from(x, i);
      four.count = HWY_MIN(four.count, 4);
      double* to = out + i * stride + j;
      if (j + 2 * lanes <= y.count) {
        tile<true>(rows, four, from(y, j), sign, to, stride);
      } else {
        tile<false>(rows, four, from(y, j), sign, to, stride);
      }
    }
  }
  reference::add(rows, x, y, sign, out, stride, j);
}

#else

void add(size_t rows, const Columns& x, const Columns& y, double sign, double* out, size_t stride) {
  reference::add(rows, x, y, sign, out, stride);
}

#endif

}  // namespace kvsplice::column_products_kernel::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
