// Body of the trainers' elementwise kernels, compiled once per SIMD target.
#if defined(KVSPLICE_FUNCTIONS_ELEMENTWISE_KERNEL_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef KVSPLICE_FUNCTIONS_ELEMENTWISE_KERNEL_INL_H_
#undef KVSPLICE_FUNCTIONS_ELEMENTWISE_KERNEL_INL_H_
#else
#define KVSPLICE_FUNCTIONS_ELEMENTWISE_KERNEL_INL_H_
#endif

#include <hwy/contrib/math/math-inl.h>
#include <hwy/highway.h>

#include <algorithm>

#include "functions/elementwise_kernel.h"

HWY_BEFORE_NAMESPACE();
namespace kvsplice::elementwise_kernel::HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;
using Tag = hn::ScalableTag<float>;
using Vector = hn::Vec<Tag>;

// Squares of so many values are summed in float, the sums in double.
constexpr size_t kBlock = 1024;

// What is left of n after whole vectors goes to the scalar reference.
HWY_INLINE size_t whole_vectors(size_t n) { return n / hn::Lanes(Tag()) * hn::Lanes(Tag()); }

void softplus(const float* x, size_t n, float* value, float* derivative) {
  const Tag tag;
  const Vector one = hn::Set(tag, 1.0f);
  const size_t end = whole_vectors(n);
  for (size_t i = 0; i < end; i += hn::Lanes(tag)) {
    const Vector u = hn::LoadU(tag, x + i);
    const Vector small = hn::Exp(tag, hn::Neg(hn::Abs(u)));
    const Vector above = hn::IfThenElse(hn::Gt(u, hn::Zero(tag)), one, small);
    hn::StoreU(hn::Add(hn::Max(u, hn::Zero(tag)), hn::Log1p(tag, small)), tag, value + i);
    hn::StoreU(hn::Div(above, hn::Add(one, small)), tag, derivative + i);
  }
  reference::softplus(x + end, n - end, value + end, derivative + end);
}

// The normal density e / sqrt(2 pi) and the distribution above |u|, e * m(t), t = 1 / (1 + 0.28
// |u|): m is the least-maximum polynomial for e * m over |u| < 6.5, to 1e-8.
HWY_INLINE void normal(Vector u, Vector& below, Vector& density) {
  const Tag tag;
  const Vector size = hn::Abs(u);
  const Vector e = hn::Exp(tag, hn::Mul(hn::Set(tag, -0.5f), hn::Mul(u, u)));
  const Vector one = hn::Set(tag, 1.0f);
  const Vector t = hn::Div(one, hn::MulAdd(hn::Set(tag, 0.28f), size, one));
  Vector m = hn::MulAdd(t, hn::Set(tag, -0.105808883f), hn::Set(tag, 0.389876629f));
  m = hn::MulAdd(t, m, hn::Set(tag, -0.236997719f));
  m = hn::MulAdd(t, m, hn::Set(tag, 0.268913584f));
  m = hn::MulAdd(t, m, hn::Set(tag, 0.0674953836f));
  m = hn::MulAdd(t, m, hn::Set(tag, 0.116520997f));
  const Vector tail = hn::Mul(e, hn::Mul(t, m));
  below = hn::IfThenElse(hn::Gt(u, hn::Zero(tag)), hn::Sub(one, tail), tail);
  density = hn::Mul(e, hn::Set(tag, 0.398942280f));
}

void gelu(const float* x, const float* bias, size_t rows, size_t cols, float* value,
          float* derivative) {
  const Tag tag;
  const size_t end = whole_vectors(cols);
  for (size_t r = 0; r < rows; ++r, x += cols, value += cols, derivative += cols) {
    for (size_t c = 0; c < end; c += hn::Lanes(tag)) {
      const Vector u = hn::Add(hn::LoadU(tag, x + c), hn::LoadU(tag, bias + c));
      Vector below, density;
      normal(u, below, density);
      hn::StoreU(hn::Mul(u, below), tag, value + c);
      hn::StoreU(hn::MulAdd(u, density, below), tag, derivative + c);
    }
    reference::gelu(x + end, bias + end, 1, cols - end, value + end, derivative + end);
  }
}

void bounded_exp(const float* x, size_t n, float* bounded, float* factor) {
  const Tag tag;
  const size_t end = whole_vectors(n);
  for (size_t i = 0; i < end; i += hn::Lanes(tag)) {
    const Vector b = hn::Tanh(tag, hn::LoadU(tag, x + i));
    hn::StoreU(b, tag, bounded + i);
    hn::StoreU(hn::Exp(tag, b), tag, factor + i);
  }
  reference::bounded_exp(x + end, n - end, bounded + end, factor + end);
}

double residual(float* y, const float* x, size_t n, float scale) {
  const Tag tag;
  const Vector factor = hn::Set(tag, scale);
  const size_t end = whole_vectors(n);
  double sum = 0;
  for (size_t first = 0; first < end; first += kBlock) {
    Vector squares = hn::Zero(tag);
    for (size_t i = first; i < std::min(first + kBlock, end); i += hn::Lanes(tag)) {
      const Vector difference = hn::Sub(hn::LoadU(tag, y + i), hn::LoadU(tag, x + i));
      squares = hn::MulAdd(difference, difference, squares);
      hn::StoreU(hn::Mul(factor, difference), tag, y + i);
    }
    sum += double(hn::GetLane(hn::SumOfLanes(tag, squares)));
  }
  return sum + reference::residual(y + end, x + end, n - end, scale);
}

double sum_of_squares(const float* x, size_t n) {
  const Tag tag;
  const size_t end = whole_vectors(n);
  double sum = 0;
  for (size_t first = 0; first < end; first += kBlock) {
    Vector squares = hn::Zero(tag);
    for (size_t i = first; i < std::min(first + kBlock, end); i += hn::Lanes(tag)) {
      const Vector v = hn::LoadU(tag, x + i);
      squares = hn::MulAdd(v, v, squares);
    }
    sum += double(hn::GetLane(hn::SumOfLanes(tag, squares)));
  }
  return sum + reference::sum_of_squares(x + end, n - end);
}

void adamw(const AdamWStep<float>& s, const float* g, float scale, size_t n, float* p, float* m,
           float* v) {
  const Tag tag;
  const Vector factor = hn::Set(tag, scale);
  const Vector beta1 = hn::Set(tag, s.beta1), rest1 = hn::Set(tag, 1 - s.beta1);
  const Vector beta2 = hn::Set(tag, s.beta2), rest2 = hn::Set(tag, 1 - s.beta2);
  const Vector epsilon = hn::Set(tag, s.epsilon), keep = hn::Set(tag, s.keep);
  const Vector rate = hn::Set(tag, s.rate), unbias = hn::Set(tag, s.unbias);
  const size_t end = whole_vectors(n);
  for (size_t i = 0; i < end; i += hn::Lanes(tag)) {
    const Vector gradient = hn::Mul(factor, hn::LoadU(tag, g + i));
    const Vector first = hn::MulAdd(beta1, hn::LoadU(tag, m + i), hn::Mul(rest1, gradient));
    const Vector second =
        hn::MulAdd(beta2, hn::LoadU(tag, v + i), hn::Mul(rest2, hn::Mul(gradient, gradient)));
    const Vector step =
        hn::Div(hn::Mul(rate, first), hn::MulAdd(unbias, hn::Sqrt(second), epsilon));
    hn::StoreU(first, tag, m + i);
    hn::StoreU(second, tag, v + i);
    hn::StoreU(hn::Sub(hn::Mul(keep, hn::LoadU(tag, p + i)), step), tag, p + i);
  }
  reference::adamw(s, g + end, scale, n - end, p + end, m + end, v + end);
}

}  // namespace kvsplice::elementwise_kernel::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
