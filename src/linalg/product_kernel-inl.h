// Body of the kernel of products, compiled once per SIMD target.
#if defined(KVSPLICE_LINALG_PRODUCT_KERNEL_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef KVSPLICE_LINALG_PRODUCT_KERNEL_INL_H_
#undef KVSPLICE_LINALG_PRODUCT_KERNEL_INL_H_
#else
#define KVSPLICE_LINALG_PRODUCT_KERNEL_INL_H_
#endif

#include <hwy/cache_control.h>
#include <hwy/highway.h>

#include "linalg/product_kernel.h"
#include "simd/registers.h"

HWY_BEFORE_NAMESPACE();
namespace kvsplice::product_kernel::HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;
using Tag = hn::CappedTag<float, 16>;
using Vector = hn::Vec<Tag>;

// Sums of a tile stay in registers: rows times two vectors, and a few registers more.
#if KVSPLICE_HAS_32_REGISTERS
constexpr size_t kRows = kTall;
#else
constexpr size_t kRows = kTall / 2;
#endif

// Values of b that a tile reads: row i starts at data + i * step.
struct Panel {
  const float* data;
  size_t step;
};

// What becomes of the sums: c = alpha sum + beta c, of the first `cols` columns.
struct Target {
  float alpha, beta;
  float* c;
  size_t step, cols;
};

HWY_INLINE Vector blend(Vector sum, const Target& to, const float* c) {
  const Tag tag;
  const Vector alpha = hn::Set(tag, to.alpha);
  if (to.beta == 0) return hn::Mul(alpha, sum);
  return hn::MulAdd(alpha, sum, hn::Mul(hn::Set(tag, to.beta), hn::LoadU(tag, c)));
}

// One row of sums, of which not all columns are wanted.
template <size_t kVectors>
HWY_INLINE void store_some(const Vector (&sums)[kVectors], const Target& to, float* c) {
  const Tag tag;
  const size_t lanes = hn::Lanes(tag);
  HWY_ALIGN float row[kWide] = {};
  if (to.beta != 0) {
    for (size_t i = 0; i < to.cols; ++i) row[i] = c[i];
  }
  for (size_t w = 0; w < kVectors; ++w) {
    hn::StoreU(blend(sums[w], to, row + w * lanes), tag, row + w * lanes);
  }
  for (size_t i = 0; i < to.cols; ++i) c[i] = row[i];
}

template <size_t kHigh, size_t kVectors>
HWY_INLINE void store(const Vector (&sums)[kHigh][kVectors], const Target& to) {
  const Tag tag;
  const size_t lanes = hn::Lanes(tag);
  const bool all = to.cols == kVectors * lanes;
  HWY_UNROLL(12)
  for (size_t r = 0; r < kHigh; ++r) {
    float* c = to.c + r * to.step;
    if (!all) {
      store_some(sums[r], to, c);
      continue;
    }
    HWY_UNROLL(2)
    for (size_t w = 0; w < kVectors; ++w) {
      hn::StoreU(blend(sums[r][w], to, c + w * lanes), tag, c + w * lanes);
    }
  }
}

// Value (r, i) of a stands at a[r * down + i] or, if it lies `kAcross`, at a[r + i * down].
template <size_t kHigh, size_t kVectors, bool kAcross>
HWY_NOINLINE void tile(const float* a, size_t down, Panel b, size_t inner, const Target& to) {
  const Tag tag;
  const size_t lanes = hn::Lanes(tag);
  Vector sums[kHigh][kVectors];
  HWY_UNROLL(12)
  for (size_t r = 0; r < kHigh; ++r) {
    HWY_UNROLL(2)
    for (size_t w = 0; w < kVectors; ++w) sums[r][w] = hn::Zero(tag);
  }
  // Every third row has a pointer of its own: addresses can add one and two steps by themselves.
  const float* third[(kHigh + 2) / 3];
  HWY_UNROLL(4)
  for (size_t t = 0; t < (kHigh + 2) / 3; ++t) third[t] = a + (kAcross ? 3 * t : 3 * t * down);
  const auto add_term = [&]() HWY_ATTR {
    Vector right[kVectors];
    HWY_UNROLL(2)
    for (size_t w = 0; w < kVectors; ++w) right[w] = hn::LoadU(tag, b.data + w * lanes);
    HWY_UNROLL(12)
    for (size_t r = 0; r < kHigh; ++r) {
      const Vector left = hn::Set(tag, third[r / 3][kAcross ? r % 3 : r % 3 * down]);
      HWY_UNROLL(2)
      for (size_t w = 0; w < kVectors; ++w) sums[r][w] = hn::MulAdd(left, right[w], sums[r][w]);
    }
    HWY_UNROLL(4)
    for (size_t t = 0; t < (kHigh + 2) / 3; ++t) third[t] += kAcross ? down : 1;
    b.data += b.step;
  };
  // What the next rows need comes closer meanwhile: they are too many for the processor to foresee.
  constexpr size_t kLine = 16;
  for (; !kAcross && inner >= kLine; inner -= kLine) {
    HWY_UNROLL(12)
    for (size_t r = 0; r < kHigh; ++r) {
      hwy::Prefetch(third[r / 3] + (kHigh + r % 3) * down);
    }
    for (size_t i = 0; i < kLine; ++i) add_term();
  }
  for (size_t i = 0; i < inner; ++i) add_term();
  store<kHigh, kVectors>(sums, to);
}

template <size_t kHigh, size_t kVectors, bool kAcross>
HWY_INLINE void tile_of(size_t rows, const float* a, size_t down, Panel b, size_t inner,
                        const Target& to) {
  if (rows == kHigh) return tile<kHigh, kVectors, kAcross>(a, down, b, inner, to);
  if constexpr (kHigh > 1) tile_of<kHigh - 1, kVectors, kAcross>(rows, a, down, b, inner, to);
}

// A product of at most kInner terms with one panel of b; `first` is the number of the first term.
template <size_t kVectors, bool kAcross>
HWY_INLINE void strip(const Product& p, size_t first, size_t inner, Panel b, Target to) {
  float* const c = to.c;
  for (size_t r = 0; r < p.rows; r += kRows) {
    const size_t rows = HWY_MIN(kRows, p.rows - r);
    const size_t end = p.reach + r + rows - 1;
    const size_t terms = end <= first ? 0 : HWY_MIN(inner, end - first);
    if (terms == 0 && first > 0) continue;  // the first terms have scaled c by beta
    to.c = c + r * p.c_step;
    const float* a = p.a.data + r * p.a.down + first * p.a.right;
    tile_of<kRows, kVectors, kAcross>(rows, a, kAcross ? p.a.right : p.a.down, b, terms, to);
  }
}

// The transpose of 4 x 4 values.
HWY_INLINE void turn(const float* from, size_t down, float* to, size_t step) {
#if HWY_TARGET == HWY_SCALAR
  for (size_t r = 0; r < 4; ++r) {
    for (size_t c = 0; c < 4; ++c) to[c * step + r] = from[r * down + c];
  }
#else
  const hn::FixedTag<float, 4> four;
  const hn::Repartition<double, decltype(four)> two;
  const auto a = hn::LoadU(four, from), b = hn::LoadU(four, from + down);
  const auto c = hn::LoadU(four, from + 2 * down), d = hn::LoadU(four, from + 3 * down);
  const auto ab_low = hn::BitCast(two, hn::InterleaveLower(four, a, b));
  const auto ab_high = hn::BitCast(two, hn::InterleaveUpper(four, a, b));
  const auto cd_low = hn::BitCast(two, hn::InterleaveLower(four, c, d));
  const auto cd_high = hn::BitCast(two, hn::InterleaveUpper(four, c, d));
  hn::StoreU(hn::BitCast(four, hn::InterleaveLower(two, ab_low, cd_low)), four, to);
  hn::StoreU(hn::BitCast(four, hn::InterleaveUpper(two, ab_low, cd_low)), four, to + step);
  hn::StoreU(hn::BitCast(four, hn::InterleaveLower(two, ab_high, cd_high)), four, to + 2 * step);
  hn::StoreU(hn::BitCast(four, hn::InterleaveUpper(two, ab_high, cd_high)), four, to + 3 * step);
#endif
}

// Copies inner x cols values of b to rows of `step` values, and zeros behind them.
HWY_INLINE void pack(const Operand& b, size_t inner, size_t cols, float* panel, size_t step) {
  const Tag tag;
  const size_t lanes = hn::Lanes(tag);
  size_t c = 0;
  if (b.right == 1) {
    for (; c + lanes <= cols; c += lanes) {
      for (size_t i = 0; i < inner; ++i) {
        hn::StoreU(hn::LoadU(tag, b.data + i * b.down + c), tag, panel + i * step + c);
      }
    }
  } else {
    for (; c + 4 <= cols; c += 4) {
      const float* from = b.data + c * b.right;
      size_t i = 0;
      for (; i + 4 <= inner; i += 4) turn(from + i, b.right, panel + i * step + c, step);
      for (; i < inner; ++i) {
        for (size_t k = 0; k < 4; ++k) panel[i * step + c + k] = from[i + k * b.right];
      }
    }
  }
  for (size_t i = 0; i < inner; ++i) {
    for (size_t k = c; k < cols; ++k) panel[i * step + k] = b.data[i * b.down + k * b.right];
    for (size_t k = cols; k < step; ++k) panel[i * step + k] = 0;
  }
}

// Of terms first ... first + inner - 1.
template <bool kAcross>
void add_terms(const Product& p, size_t first, size_t inner) {
  HWY_ALIGN float panel[kInner * kWide];
  const size_t lanes = hn::Lanes(Tag());
  const size_t widest = 2 * lanes;
  for (size_t c = 0; c < p.cols; c += widest) {
    const size_t cols = HWY_MIN(widest, p.cols - c);
    const Operand b = {p.b.data + first * p.b.down + c * p.b.right, p.b.down, p.b.right};
    Panel from = {b.data, b.down};
    // To copy what is read once or twice is not worth while.
    const bool as_it_is = b.right == 1 && p.rows <= 2 * kRows && (cols == widest || cols == lanes);
    if (!as_it_is) {
      const size_t step = cols <= lanes ? lanes : widest;
      pack(b, inner, cols, panel, step);
      from = {panel, step};
    }
    const Target to = {p.alpha, first == 0 ? p.beta : 1, p.c + c, p.c_step, cols};
    if (cols <= lanes) {
      strip<1, kAcross>(p, first, inner, from, to);
    } else {
      strip<2, kAcross>(p, first, inner, from, to);
    }
  }
}

void multiply(const Product& p) {
  for (size_t first = 0; first == 0 || first < p.inner; first += kInner) {
    const size_t inner = HWY_MIN(kInner, p.inner - first);
    if (p.a.right == 1) {
      add_terms<false>(p, first, inner);
    } else {
      add_terms<true>(p, first, inner);
    }
  }
}

}  // namespace kvsplice::product_kernel::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
