// Kernels of per-column piecewise-linear maps: plain pointers and sizes.
//
// Matrices are row-major, [rows x dim] with a stride; tables are [segments x dim] (knots: one row
// less), so that neighbouring columns are neighbours in memory. The templates are the scalar
// reference, and what double precision uses (gradient checks).
#pragma once

#include <cstddef>

namespace kvsplice::spline_kernel {

// Column c maps v to slope[s][c] * v + offset[s][c], s = how many of the knots of c lie below v.
template <class T>
struct Pieces {
  size_t dim = 0;
  size_t segments = 0;
  const T* knots = nullptr;   // [segments - 1 x dim], ascending in every column
  const T* slope = nullptr;   // [segments x dim]
  const T* offset = nullptr;  // [segments x dim]
};

// out = map(in); out may be in.
void map(const Pieces<float>& pieces, const float* in, size_t in_stride, float* out,
         size_t out_stride, size_t rows);

// Reverse of map for the gradient g of its output: row s of `moments` gains the sums of g * in, and
// row s of `totals` those of g, over the values above knot s - 1 (row 0: over all values). With
// `to_input`, g becomes the gradient of the input.
void map_backward(const Pieces<float>& pieces, const float* in, size_t in_stride, float* g,
                  size_t g_stride, size_t rows, bool to_input, float* moments, float* totals);

namespace reference {

template <class T>
size_t segment(const Pieces<T>& p, size_t c, T v) {
  size_t s = 0;
  while (s + 1 < p.segments && p.knots[s * p.dim + c] < v) ++s;
  return s;
}

template <class T>
void map(const Pieces<T>& p, const T* in, size_t in_stride, T* out, size_t out_stride, size_t rows,
         size_t first_column = 0) {
  for (size_t r = 0; r < rows; ++r) {
    for (size_t c = first_column; c < p.dim; ++c) {
      const T v = in[r * in_stride + c];
      const size_t s = segment(p, c, v) * p.dim + c;
      out[r * out_stride + c] = p.slope[s] * v + p.offset[s];
    }
  }
}

template <class T>
void map_backward(const Pieces<T>& p, const T* in, size_t in_stride, T* g, size_t g_stride,
                  size_t rows, bool to_input, T* moments, T* totals, size_t first_column = 0) {
  for (size_t r = 0; r < rows; ++r) {
    for (size_t c = first_column; c < p.dim; ++c) {
      const T v = in[r * in_stride + c];
      T& d = g[r * g_stride + c];
      const size_t s = segment(p, c, v);
      for (size_t i = 0; i <= s; ++i) {
        moments[i * p.dim + c] += d * v;
        totals[i * p.dim + c] += d;
      }
      if (to_input) d *= p.slope[s * p.dim + c];
    }
  }
}

}  // namespace reference

inline void map(const Pieces<double>& p, const double* in, size_t in_stride, double* out,
                size_t out_stride, size_t rows) {
  reference::map(p, in, in_stride, out, out_stride, rows);
}
inline void map_backward(const Pieces<double>& p, const double* in, size_t in_stride, double* g,
                         size_t g_stride, size_t rows, bool to_input, double* moments,
                         double* totals) {
  reference::map_backward(p, in, in_stride, g, g_stride, rows, to_input, moments, totals);
}

}  // namespace kvsplice::spline_kernel
