// Body of the kernels of piecewise-linear maps, compiled once per SIMD target.
#if defined(KVSPLICE_TRAIN_SPLINE_KERNEL_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef KVSPLICE_TRAIN_SPLINE_KERNEL_INL_H_
#undef KVSPLICE_TRAIN_SPLINE_KERNEL_INL_H_
#else
#define KVSPLICE_TRAIN_SPLINE_KERNEL_INL_H_
#endif

#include <hwy/highway.h>

#include "train/spline_kernel.h"

HWY_BEFORE_NAMESPACE();
namespace kvsplice::spline_kernel::HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;
using Tag = hn::ScalableTag<float>;
using Vector = hn::Vec<Tag>;

// Columns from here on are left to the scalar reference.
HWY_INLINE size_t whole_vectors(size_t dim) { return dim / hn::Lanes(Tag()) * hn::Lanes(Tag()); }

// Two rows share every load of the tables. The second of an odd last pair is the first again.
void map(const Pieces<float>& p, const float* in, size_t in_stride, float* out, size_t out_stride,
         size_t rows) {
  const Tag tag;
  const size_t dim = p.dim, end = whole_vectors(dim);
  for (size_t r = 0; r < rows; r += 2, in += 2 * in_stride, out += 2 * out_stride) {
    const bool pair = r + 1 < rows;
    const float* in1 = pair ? in + in_stride : in;
    float* out1 = pair ? out + out_stride : out;
    for (size_t c = 0; c < end; c += hn::Lanes(tag)) {
      const Vector v0 = hn::LoadU(tag, in + c), v1 = hn::LoadU(tag, in1 + c);
      Vector a0 = hn::LoadU(tag, p.slope + c), a1 = a0;
      Vector b0 = hn::LoadU(tag, p.offset + c), b1 = b0;
      for (size_t at = c; at < (p.segments - 1) * dim; at += dim) {
        const Vector knot = hn::LoadU(tag, p.knots + at);
        const Vector a = hn::LoadU(tag, p.slope + at + dim);
        const Vector b = hn::LoadU(tag, p.offset + at + dim);
        const auto above0 = hn::Gt(v0, knot), above1 = hn::Gt(v1, knot);
        a0 = hn::IfThenElse(above0, a, a0);
        b0 = hn::IfThenElse(above0, b, b0);
        a1 = hn::IfThenElse(above1, a, a1);
        b1 = hn::IfThenElse(above1, b, b1);
      }
      hn::StoreU(hn::MulAdd(a0, v0, b0), tag, out + c);
      hn::StoreU(hn::MulAdd(a1, v1, b1), tag, out1 + c);
    }
    reference::map(p, in, in_stride, out, out_stride, pair ? 2 : 1, end);
  }
}

// Pairs of rows as above; what a lone last row does twice counts once.
double map_error(const Pieces<float>& p, const float* in, const float* x, size_t rows, float weight,
                 float* out, float* g) {
  const Tag tag;
  const size_t dim = p.dim, end = whole_vectors(dim);
  const Vector scale = hn::Set(tag, weight);
  double squares = 0;
  for (size_t r = 0; r < rows; r += 2) {
    const bool pair = r + 1 < rows;
    const size_t at0 = r * dim, at1 = pair ? at0 + dim : at0;
    Vector sum0 = hn::Zero(tag), sum1 = sum0;
    for (size_t c = 0; c < end; c += hn::Lanes(tag)) {
      const Vector v0 = hn::LoadU(tag, in + at0 + c), v1 = hn::LoadU(tag, in + at1 + c);
      Vector a0 = hn::LoadU(tag, p.slope + c), a1 = a0;
      Vector b0 = hn::LoadU(tag, p.offset + c), b1 = b0;
      for (size_t at = c; at < (p.segments - 1) * dim; at += dim) {
        const Vector knot = hn::LoadU(tag, p.knots + at);
        const Vector a = hn::LoadU(tag, p.slope + at + dim);
        const Vector b = hn::LoadU(tag, p.offset + at + dim);
        const auto above0 = hn::Gt(v0, knot), above1 = hn::Gt(v1, knot);
        a0 = hn::IfThenElse(above0, a, a0);
        b0 = hn::IfThenElse(above0, b, b0);
        a1 = hn::IfThenElse(above1, a, a1);
        b1 = hn::IfThenElse(above1, b, b1);
      }
      const Vector mapped0 = hn::MulAdd(a0, v0, b0), mapped1 = hn::MulAdd(a1, v1, b1);
      const Vector error0 = hn::Sub(mapped0, hn::LoadU(tag, x + at0 + c));
      const Vector error1 = hn::Sub(mapped1, hn::LoadU(tag, x + at1 + c));
      sum0 = hn::MulAdd(error0, error0, sum0);
      sum1 = hn::MulAdd(error1, error1, sum1);
      hn::StoreU(mapped0, tag, out + at0 + c);
      hn::StoreU(mapped1, tag, out + at1 + c);
      hn::StoreU(hn::Mul(hn::Mul(scale, error0), a0), tag, g + at0 + c);
      if (pair) hn::StoreU(hn::Mul(hn::Mul(scale, error1), a1), tag, g + at1 + c);
    }
    squares += double(hn::GetLane(hn::SumOfLanes(tag, pair ? hn::Add(sum0, sum1) : sum0)));
    squares +=
        reference::map_error(p, in + at0, x + at0, pair ? 2 : 1, weight, out + at0, g + at0, end);
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
