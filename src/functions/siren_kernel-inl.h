// Body of the sine network's kernels, compiled once per SIMD target (see siren_kernel.cc).
#if defined(KVSPLICE_FUNCTIONS_SIREN_KERNEL_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef KVSPLICE_FUNCTIONS_SIREN_KERNEL_INL_H_
#undef KVSPLICE_FUNCTIONS_SIREN_KERNEL_INL_H_
#else
#define KVSPLICE_FUNCTIONS_SIREN_KERNEL_INL_H_
#endif

#include <hwy/highway.h>

#include <algorithm>

#include "functions/siren_kernel.h"
#include "simd/sincos-inl.h"

HWY_BEFORE_NAMESPACE();
namespace kvsplice::siren_kernel::HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;
using Tag = hn::ScalableTag<float>;
using Vector = hn::Vec<Tag>;

// A tile of the product is kTileRows x 2 vectors: 12 sums hide the latency of two FMA units, and
// with two vectors of weights and one of a they fit in 16 registers.
constexpr size_t kTileRows = 6;

// Not forced in line: with one target only, as on aarch64, it is called from outside its namespace.
inline size_t width() { return 2 * hn::Lanes(Tag()); }

// Sums of R x 2 vectors over `depth` steps: row i gains a[i][k * step] * b[k].
template <size_t R>
struct Tile {
  Vector sum[R][2];

  // One that the compiler makes would not be for the target.
  HWY_INLINE Tile() {}
  HWY_INLINE void clear() {
    HWY_UNROLL(6)
    for (size_t i = 0; i < R; ++i) sum[i][0] = sum[i][1] = hn::Zero(Tag());
  }
  HWY_INLINE void add(const float* const* a, size_t first, size_t step, size_t depth,
                      const float* b) {
    const Tag tag;
    const size_t n = hn::Lanes(tag);
    for (size_t k = 0, at = first; k < depth; ++k, at += step, b += 2 * n) {
      const Vector b0 = hn::Load(tag, b);
      const Vector b1 = hn::Load(tag, b + n);
      HWY_UNROLL(6)
      for (size_t i = 0; i < R; ++i) {
        const Vector ai = hn::Set(tag, a[i][at]);
        sum[i][0] = hn::MulAdd(ai, b0, sum[i][0]);
        sum[i][1] = hn::MulAdd(ai, b1, sum[i][1]);
      }
    }
  }
};

template <size_t R>
HWY_NOINLINE void product_tile(const float* a, size_t rows, size_t depth, const float* weights,
                               float* out) {
  const Tag tag;
  const size_t n = hn::Lanes(tag);
  const float* row[R];
  HWY_UNROLL(6)
  for (size_t i = 0; i < R; ++i) row[i] = a + i * width();
  Tile<R> tile;
  tile.clear();
  for (size_t k = 0; k < depth; k += width()) {
    tile.add(row, k * rows, 1, std::min(width(), depth - k), weights + k * width());
  }
  HWY_UNROLL(6)
  for (size_t i = 0; i < R; ++i) {
    hn::Store(tile.sum[i][0], tag, out + i * width());
    hn::Store(tile.sum[i][1], tag, out + i * width() + n);
  }
}

template <size_t R>
HWY_NOINLINE void outer_tile(const float* a, size_t first, size_t rows, const float* d,
                             float* sum) {
  const Tag tag;
  const size_t n = hn::Lanes(tag);
  const float* column[R];
  HWY_UNROLL(6)
  for (size_t i = 0; i < R; ++i) {
    column[i] = a + (first + i) / width() * rows * width() + (first + i) % width();
  }
  Tile<R> tile;
  HWY_UNROLL(6)
  for (size_t i = 0; i < R; ++i) {
    tile.sum[i][0] = hn::Load(tag, sum + i * width());
    tile.sum[i][1] = hn::Load(tag, sum + i * width() + n);
  }
  tile.add(column, 0, width(), rows, d);
  HWY_UNROLL(6)
  for (size_t i = 0; i < R; ++i) {
    hn::Store(tile.sum[i][0], tag, sum + i * width());
    hn::Store(tile.sum[i][1], tag, sum + i * width() + n);
  }
}

// Calls f with std::integral_constant-like R for the rows left over after whole tiles.
template <class F>
HWY_INLINE void last_tile(size_t left, F&& f) {
  switch (left) {
    case 1:
      return f.template operator()<1>();
    case 2:
      return f.template operator()<2>();
    case 3:
      return f.template operator()<3>();
    case 4:
      return f.template operator()<4>();
    case 5:
      return f.template operator()<5>();
    default:
      return;
  }
}

void product(const float* a, size_t rows, size_t depth, const float* weights, float* out) {
  size_t r = 0;
  for (; r + kTileRows <= rows; r += kTileRows) {
    product_tile<kTileRows>(a + r * width(), rows, depth, weights, out + r * width());
  }
  last_tile(rows - r, [&]<size_t R>() {
    product_tile<R>(a + r * width(), rows, depth, weights, out + r * width());
  });
}

void outer(const float* a, size_t count, size_t rows, const float* d, float* sum) {
  size_t i = 0;
  for (; i + kTileRows <= count; i += kTileRows) {
    outer_tile<kTileRows>(a, i, rows, d, sum + i * width());
  }
  last_tile(count - i, [&]<size_t R>() { outer_tile<R>(a, i, rows, d, sum + i * width()); });
}

void sine_rows(const float* z, size_t rows, const float* bias, float omega, float* sine,
               float* cosine) {
  const Tag tag;
  const size_t n = hn::Lanes(tag);
  const Vector scale = hn::Set(tag, omega);
  const Vector shift0 = hn::Load(tag, bias), shift1 = hn::Load(tag, bias + n);
  for (size_t i = 0; i < rows * width(); i += 2 * n) {
    const Vector x0 = hn::Mul(scale, hn::Add(hn::Load(tag, z + i), shift0));
    const Vector x1 = hn::Mul(scale, hn::Add(hn::Load(tag, z + i + n), shift1));
    Vector s0, c0, s1, c1;
    simd::HWY_NAMESPACE::sin_cos(tag, x0, s0, c0);
    simd::HWY_NAMESPACE::sin_cos(tag, x1, s1, c1);
    hn::Store(s0, tag, sine + i);
    hn::Store(s1, tag, sine + i + n);
    hn::Store(c0, tag, cosine + i);
    hn::Store(c1, tag, cosine + i + n);
  }
}

void multiply(const float* c, size_t count, float* d) {
  const Tag tag;
  for (size_t i = 0; i < count; i += hn::Lanes(tag)) {
    hn::Store(hn::Mul(hn::Load(tag, c + i), hn::Load(tag, d + i)), tag, d + i);
  }
}

void add_columns(const float* d, size_t rows, float* sum) {
  const Tag tag;
  const size_t n = hn::Lanes(tag);
  Vector low = hn::Load(tag, sum), high = hn::Load(tag, sum + n);
  for (size_t r = 0; r < rows; ++r, d += width()) {
    low = hn::Add(low, hn::Load(tag, d));
    high = hn::Add(high, hn::Load(tag, d + n));
  }
  hn::Store(low, tag, sum);
  hn::Store(high, tag, sum + n);
}

// Squares are summed in float over one row of the panel column by column, rows in double: a block
// has few hundred rows, so that the float sums stay short.
double residual(float* prediction, size_t rows, const float* bias, const float* target,
                float scale) {
  const Tag tag;
  const size_t n = hn::Lanes(tag);
  const Vector factor = hn::Set(tag, scale);
  double total = 0;
  for (size_t j = 0; j < width(); j += n) {
    const Vector shift = hn::Load(tag, bias + j);
    Vector squares = hn::Zero(tag);
    for (size_t i = j; i < rows * width(); i += width()) {
      const Vector value = hn::Add(hn::Load(tag, prediction + i), shift);
      const Vector difference = hn::Sub(value, hn::Load(tag, target + i));
      squares = hn::MulAdd(difference, difference, squares);
      hn::Store(hn::Mul(difference, factor), tag, prediction + i);
    }
    total += double(hn::GetLane(hn::SumOfLanes(tag, squares)));
  }
  return total;
}

void adam(const AdamStep<float>& step, const float* g, float scale, size_t count, float* p,
          float* m, float* v) {
  const Tag tag;
  const Vector beta1 = hn::Set(tag, step.beta1), rest1 = hn::Set(tag, 1 - step.beta1);
  const Vector beta2 = hn::Set(tag, step.beta2), rest2 = hn::Set(tag, 1 - step.beta2);
  const Vector unbias2 = hn::Set(tag, 1 / step.correction2);
  const Vector rate = hn::Set(tag, step.rate / step.correction1);
  const Vector epsilon = hn::Set(tag, step.epsilon), factor = hn::Set(tag, scale);
  for (size_t i = 0; i < count; i += hn::Lanes(tag)) {
    const Vector gradient = hn::Mul(factor, hn::Load(tag, g + i));
    const Vector m1 = hn::MulAdd(beta1, hn::Load(tag, m + i), hn::Mul(rest1, gradient));
    const Vector square = hn::Mul(gradient, gradient);
    const Vector v1 = hn::MulAdd(beta2, hn::Load(tag, v + i), hn::Mul(rest2, square));
    const Vector root = hn::Add(hn::Sqrt(hn::Mul(v1, unbias2)), epsilon);
    const Vector change = hn::Div(hn::Mul(rate, m1), root);
    hn::Store(m1, tag, m + i);
    hn::Store(v1, tag, v + i);
    hn::Store(hn::Sub(hn::Load(tag, p + i), change), tag, p + i);
  }
}

}  // namespace kvsplice::siren_kernel::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
