// Body of the kernels of piecewise-linear maps, compiled once per SIMD target.
#if defined(KVSPLICE_FUNCTIONS_SPLINE_KERNEL_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef KVSPLICE_FUNCTIONS_SPLINE_KERNEL_INL_H_
#undef KVSPLICE_FUNCTIONS_SPLINE_KERNEL_INL_H_
#else
#define KVSPLICE_FUNCTIONS_SPLINE_KERNEL_INL_H_
#endif

#include <hwy/highway.h>

#include "functions/spline_kernel.h"

HWY_BEFORE_NAMESPACE();
namespace kvsplice::spline_kernel::HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;
using Tag = hn::ScalableTag<float>;
using Vector = hn::Vec<Tag>;

// Columns from here on are left to the scalar reference.
HWY_INLINE size_t whole_vectors(size_t dim) { return dim / hn::Lanes(Tag()) * hn::Lanes(Tag()); }

// Of one vector of columns, row by row: body(r, v, slope, offset) with the value and its piece.
// Down the columns, so that the first pieces stay in registers; few rows at a time, so that those
// of all columns stay in the first cache.
constexpr size_t kMapRows = 16;
constexpr size_t kKnotsInRegisters = 5;
template <class Body>
HWY_INLINE void for_pieces(const Pieces<float>& p, const float* in, size_t stride, size_t rows,
                           const Body& body) {
  const Tag tag;
  const auto piece = [&](const float* table, size_t s) {
    return hn::LoadU(tag, table + HWY_MIN(s, p.segments - 1) * p.dim);
  };
  // Nothing lies above those that are not there.
  const auto knot = [&](size_t s) {
    return s + 1 < p.segments ? hn::LoadU(tag, p.knots + s * p.dim) : hn::Inf(tag);
  };
  const Vector k0 = knot(0), k1 = knot(1), k2 = knot(2), k3 = knot(3), k4 = knot(4);
  const Vector a0 = piece(p.slope, 0), a1 = piece(p.slope, 1), a2 = piece(p.slope, 2);
  const Vector a3 = piece(p.slope, 3), a4 = piece(p.slope, 4), a5 = piece(p.slope, 5);
  const Vector b0 = piece(p.offset, 0), b1 = piece(p.offset, 1), b2 = piece(p.offset, 2);
  const Vector b3 = piece(p.offset, 3), b4 = piece(p.offset, 4), b5 = piece(p.offset, 5);
  for (size_t r = 0; r < rows; ++r) {
    const Vector v = hn::LoadU(tag, in + r * stride);
    Vector a = a0, b = b0;
    const auto pass = [&](Vector at, Vector slope, Vector offset) {
      const auto above = hn::Gt(v, at);
      a = hn::IfThenElse(above, slope, a);
      b = hn::IfThenElse(above, offset, b);
    };
    pass(k0, a1, b1), pass(k1, a2, b2), pass(k2, a3, b3), pass(k3, a4, b4), pass(k4, a5, b5);
    for (size_t s = kKnotsInRegisters; s + 1 < p.segments; ++s) {
      pass(knot(s), piece(p.slope, s + 1), piece(p.offset, s + 1));
    }
    body(r, v, a, b);
  }
}

// The tables from column c on.
HWY_INLINE Pieces<float> from_column(const Pieces<float>& p, size_t c) {
  return {p.dim, p.segments, p.knots + c, p.slope + c, p.offset + c};
}

void map(const Pieces<float>& p, const float* in, size_t in_stride, float* out, size_t out_stride,
         size_t rows) {
  const Tag tag;
  const size_t end = whole_vectors(p.dim);
  for (size_t first = 0; first < rows; first += kMapRows) {
    const size_t n = HWY_MIN(kMapRows, rows - first);
    const float* from = in + first * in_stride;
    float* to = out + first * out_stride;
    for (size_t c = 0; c < end; c += hn::Lanes(tag)) {
      for_pieces(from_column(p, c), from + c, in_stride, n,
                 [&](size_t r, Vector v, Vector slope, Vector offset) {
                   hn::StoreU(hn::MulAdd(slope, v, offset), tag, to + r * out_stride + c);
                 });
    }
    reference::map(p, from, in_stride, to, out_stride, n, end);
  }
}

double map_error(const Pieces<float>& p, const float* in, const float* x, size_t rows, float weight,
                 float* out, float* g) {
  const Tag tag;
  const size_t end = whole_vectors(p.dim);
  const Vector scale = hn::Set(tag, weight);
  double squares = 0;
  for (size_t first = 0; first < rows; first += kMapRows) {
    const size_t n = HWY_MIN(kMapRows, rows - first), at = first * p.dim;
    Vector sum = hn::Zero(tag);
    for (size_t c = 0; c < end; c += hn::Lanes(tag)) {
      for_pieces(from_column(p, c), in + at + c, p.dim, n,
                 [&](size_t r, Vector v, Vector slope, Vector offset) {
                   const size_t here = at + r * p.dim + c;
                   const Vector mapped = hn::MulAdd(slope, v, offset);
                   const Vector error = hn::Sub(mapped, hn::LoadU(tag, x + here));
                   sum = hn::MulAdd(error, error, sum);
                   hn::StoreU(mapped, tag, out + here);
                   hn::StoreU(hn::Mul(hn::Mul(scale, error), slope), tag, g + here);
                 });
    }
    squares += double(hn::GetLane(hn::SumOfLanes(tag, sum)));
    squares += reference::map_error(p, in + at, x + at, n, weight, out + at, g + at, end);
  }
  return squares;
}

HWY_INLINE void add_to(Vector v, float* sum) {
  const Tag tag;
  hn::StoreU(hn::Add(hn::LoadU(tag, sum), v), tag, sum);
}

// Knots from `first` on, as many as registers hold; a knot behind the last stands in for those that
// are not there.
constexpr size_t kKnotsAtOnce = 6;
HWY_INLINE void add_some_bend_sums(const Bends<float>& b, size_t first, const float* x,
                                   size_t x_stride, const float* g, size_t g_stride, size_t rows,
                                   Vector weight, float* sums, size_t c) {
  const Tag tag;
  const auto knot = [&](size_t i) {
    return hn::LoadU(tag, b.knots + HWY_MIN(first + i, b.count - 1) * b.dim + c);
  };
  const Vector k0 = knot(0), k1 = knot(1), k2 = knot(2), k3 = knot(3), k4 = knot(4), k5 = knot(5);
  const Vector zero = hn::Zero(tag);
  const Vector least = first == 0 ? hn::Set(tag, hwy::LowestValue<float>()) : zero;
  Vector total = zero, s0 = zero, s1 = zero, s2 = zero, s3 = zero, s4 = zero, s5 = zero;
  for (size_t r = 0; r < rows; ++r) {
    const Vector v = hn::LoadU(tag, x + r * x_stride + c), d = hn::LoadU(tag, g + r * g_stride + c);
    total = hn::Add(total, d);
    s0 = hn::MulAdd(d, hn::Max(hn::Sub(v, k0), least), s0);
    s1 = hn::MulAdd(d, hn::Max(hn::Sub(v, k1), zero), s1);
    s2 = hn::MulAdd(d, hn::Max(hn::Sub(v, k2), zero), s2);
    s3 = hn::MulAdd(d, hn::Max(hn::Sub(v, k3), zero), s3);
    s4 = hn::MulAdd(d, hn::Max(hn::Sub(v, k4), zero), s4);
    s5 = hn::MulAdd(d, hn::Max(hn::Sub(v, k5), zero), s5);
  }
  const auto add = [&](size_t i, Vector s) {
    if (first + i < b.count) add_to(hn::Mul(weight, s), sums + (1 + first + i) * b.dim + c);
  };
  if (first == 0) add_to(hn::Mul(weight, total), sums + c);
  add(0, s0), add(1, s1), add(2, s2), add(3, s3), add(4, s4), add(5, s5);
}

// Down the columns, few rows at a time, so that a block of both matrices stays in the first cache.
void add_bend_sums(const Bends<float>& b, const float* x, size_t x_stride, const float* g,
                   size_t g_stride, size_t rows, float weight, float* sums) {
  constexpr size_t kBlock = 16;
  const Tag tag;
  const size_t end = whole_vectors(b.dim);
  for (size_t r = 0; r < rows; r += kBlock) {
    const size_t n = HWY_MIN(kBlock, rows - r);
    for (size_t c = 0; c < end; c += hn::Lanes(tag)) {
      for (size_t first = 0; first < b.count; first += kKnotsAtOnce) {
        add_some_bend_sums(b, first, x + r * x_stride, x_stride, g + r * g_stride, g_stride, n,
                           hn::Set(tag, weight), sums, c);
      }
    }
  }
  reference::add_bend_sums(b, x, x_stride, g, g_stride, rows, weight, sums, end);
}

void count_above(const Pieces<float>& p, const float* in, size_t stride, size_t rows,
                 float* counts) {
  const Tag tag;
  const size_t end = whole_vectors(p.dim);
  const Vector one = hn::Set(tag, 1);
  for (size_t c = 0; c < end; c += hn::Lanes(tag)) {
    hn::StoreU(hn::Set(tag, float(rows)), tag, counts + c);
    for (size_t s = 1; s < p.segments; ++s) {
      const Vector knot = hn::LoadU(tag, p.knots + (s - 1) * p.dim + c);
      Vector above = hn::Zero(tag);
      for (size_t r = 0; r < rows; ++r) {
        const auto is_above = hn::Gt(hn::LoadU(tag, in + r * stride + c), knot);
        above = hn::Add(above, hn::IfThenElseZero(is_above, one));
      }
      hn::StoreU(above, tag, counts + s * p.dim + c);
    }
  }
  reference::count_above(p, in, stride, rows, counts, end);
}

}  // namespace kvsplice::spline_kernel::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
