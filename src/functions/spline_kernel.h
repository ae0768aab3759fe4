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

// The same for contiguous matrices, and back with `weight` times the error of out as a copy of x: g
// is the gradient with respect to `in`. Returns the sum of (out - x)^2. g may be in; out may be
// neither.
double map_error(const Pieces<float>& pieces, const float* in, const float* x, size_t rows,
                 float weight, float* out, float* g);

// What a map whose knots stay is a linear function of: in column c
//   1,  x - knot 0,  max(0, x - knot 1),  max(0, x - knot 2), ...
template <class T>
struct Bends {
  size_t dim = 0;
  size_t count = 0;          // at least 1
  const T* knots = nullptr;  // [count x dim], ascending in every column
};

// Rows of sums [1 + count x dim] gain `weight` times the sums of g times each of these.
void add_bend_sums(const Bends<float>& bends, const float* x, size_t x_stride, const float* g,
                   size_t g_stride, size_t rows, float weight, float* sums);

// counts [segments x dim] := how many values lie above knot s - 1 (row 0: all).
void count_above(const Pieces<float>& pieces, const float* in, size_t stride, size_t rows,
                 float* counts);

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
double map_error(const Pieces<T>& p, const T* in, const T* x, size_t rows, T weight, T* out, T* g,
                 size_t first_column = 0) {
  double squares = 0;
  for (size_t r = 0; r < rows; ++r) {
    for (size_t c = first_column; c < p.dim; ++c) {
      const size_t at = r * p.dim + c, s = segment(p, c, in[at]) * p.dim + c;
      out[at] = p.slope[s] * in[at] + p.offset[s];
      const T error = out[at] - x[at];
      g[at] = weight * error * p.slope[s];
      squares += double(error) * double(error);
    }
  }
  return squares;
}

template <class T>
void add_bend_sums(const Bends<T>& b, const T* x, size_t x_stride, const T* g, size_t g_stride,
                   size_t rows, T weight, T* sums, size_t first_column = 0) {
  for (size_t r = 0; r < rows; ++r) {
    for (size_t c = first_column; c < b.dim; ++c) {
      const T d = weight * g[r * g_stride + c];
      sums[c] += d;
      for (size_t i = 0; i < b.count; ++i) {
        const T beyond = x[r * x_stride + c] - b.knots[i * b.dim + c];
        sums[(1 + i) * b.dim + c] += d * (i == 0 || beyond > 0 ? beyond : T(0));
      }
    }
  }
}

template <class T>
void count_above(const Pieces<T>& p, const T* in, size_t stride, size_t rows, T* counts,
                 size_t first_column = 0) {
  for (size_t c = first_column; c < p.dim; ++c) {
    for (size_t i = 0; i < p.segments; ++i) counts[i * p.dim + c] = 0;
    for (size_t r = 0; r < rows; ++r) {
      const size_t s = segment(p, c, in[r * stride + c]);
      for (size_t i = 0; i <= s; ++i) counts[i * p.dim + c] += 1;
    }
  }
}

}  // namespace reference

inline void map(const Pieces<double>& p, const double* in, size_t in_stride, double* out,
                size_t out_stride, size_t rows) {
  reference::map(p, in, in_stride, out, out_stride, rows);
}
inline double map_error(const Pieces<double>& p, const double* in, const double* x, size_t rows,
                        double weight, double* out, double* g) {
  return reference::map_error(p, in, x, rows, weight, out, g);
}
inline void add_bend_sums(const Bends<double>& bends, const double* x, size_t x_stride,
                          const double* g, size_t g_stride, size_t rows, double weight,
                          double* sums) {
  reference::add_bend_sums(bends, x, x_stride, g, g_stride, rows, weight, sums);
}
inline void count_above(const Pieces<double>& p, const double* in, size_t stride, size_t rows,
                        double* counts) {
  reference::count_above(p, in, stride, rows, counts);
}

}  // namespace kvsplice::spline_kernel
