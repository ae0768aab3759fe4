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

HWY_INLINE void add_to(Vector v, float* sum) {
  const Tag tag;
  hn::StoreU(hn::Add(hn::LoadU(tag, sum), v), tag, sum);
}

// As above; the repeated row of an odd last pair has no gradient.
void map_backward(const Pieces<float>& p, const float* in, size_t in_stride, float* g,
                  size_t g_stride, size_t rows, bool to_input, float* moments, float* totals) {
  const Tag tag;
  const size_t dim = p.dim, end = whole_vectors(dim);
  for (size_t r = 0; r < rows; r += 2, in += 2 * in_stride, g += 2 * g_stride) {
    const bool pair = r + 1 < rows;
    const float* in1 = pair ? in + in_stride : in;
    float* g1 = pair ? g + g_stride : g;
    for (size_t c = 0; c < end; c += hn::Lanes(tag)) {
      const Vector v0 = hn::LoadU(tag, in + c), v1 = hn::LoadU(tag, in1 + c);
      const Vector d0 = hn::LoadU(tag, g + c);
      const Vector d1 = pair ? hn::LoadU(tag, g1 + c) : hn::Zero(tag);
      const Vector m0 = hn::Mul(d0, v0), m1 = hn::Mul(d1, v1);
      add_to(hn::Add(m0, m1), moments + c);
      add_to(hn::Add(d0, d1), totals + c);
      Vector a0 = hn::LoadU(tag, p.slope + c), a1 = a0;
      for (size_t at = c; at < (p.segments - 1) * dim; at += dim) {
        const Vector knot = hn::LoadU(tag, p.knots + at);
        const Vector a = hn::LoadU(tag, p.slope + at + dim);
        const auto above0 = hn::Gt(v0, knot), above1 = hn::Gt(v1, knot);
        a0 = hn::IfThenElse(above0, a, a0);
        a1 = hn::IfThenElse(above1, a, a1);
        add_to(hn::Add(hn::IfThenElseZero(above0, m0), hn::IfThenElseZero(above1, m1)),
               moments + at + dim);
        add_to(hn::Add(hn::IfThenElseZero(above0, d0), hn::IfThenElseZero(above1, d1)),
               totals + at + dim);
      }
      if (!to_input) continue;
      if (pair) hn::StoreU(hn::Mul(a1, d1), tag, g1 + c);
      hn::StoreU(hn::Mul(a0, d0), tag, g + c);
    }
    reference::map_backward(p, in, in_stride, g, g_stride, pair ? 2 : 1, to_input, moments, totals,
                            end);
  }
}

}  // namespace kvsplice::spline_kernel::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
