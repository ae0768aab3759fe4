#include "train/spline.h"

#include <algorithm>
#include <cassert>
#include <cmath>

#include "core/threads.h"
#include "train/elementwise_kernel.h"

namespace kvsplice::train {

namespace {

constexpr double kLeastSlope = 1e-4, kLeastMean = 1e-8, kLeastScale = 1e-3;

constexpr size_t kChunk = 256;  // rows of a task when all threads work

template <class T>
void map_rows(const spline_kernel::Pieces<T>& pieces, MatrixView<const T> in, MatrixView<T> out) {
  assert(in.cols == pieces.dim && out.cols == pieces.dim && in.rows == out.rows);
  spline_kernel::map(pieces, in.data, in.stride, out.data, out.stride, in.rows);
}

}  // namespace

Matrix<float> quantile_knots(MatrixView<const float> rows, size_t knots) {
  Matrix<float> out(knots, rows.cols);
  parallel_for(rows.cols, [&](size_t c) {
    std::vector<float> column(rows.rows);
    for (size_t r = 0; r < rows.rows; ++r) column[r] = rows(r, c);
    auto from = column.begin();
    for (size_t k = 0; k < knots; ++k) {
      const auto at = column.begin() + long((rows.rows - 1) * k / (knots - 1));
      std::nth_element(from, at, column.end());
      out(k, c) = *at;
      from = at;
    }
  });
  return out;
}

template <class T>
Spline<T>::Spline(Matrix<T> knots)
    : knots_(std::move(knots)),
      parameters_((segments() + 2) * dim()),
      positive_(segments() + 1, dim()),
      positive_by_raw_(segments() + 1, dim()),
      mean_slope_(dim()),
      slope_(segments(), dim()),
      offset_(segments(), dim()),
      back_slope_(segments(), dim()),
      back_offset_(segments(), dim()),
      back_knots_(segments(), dim()) {
  parameters_changed();
}

template <class T>
T Spline<T>::weight(size_t s, size_t c) const {
  const T width = knots_(segments(), c) - knots_(0, c);
  return width > 0 ? (knots_(s + 1, c) - knots_(s, c)) / width : 1 / T(segments());
}

template <class T>
void Spline<T>::tables_of_column(size_t c) {
  const T scale = positive_(segments(), c) + T(kLeastScale);
  T mean = T(kLeastMean);
  for (size_t s = 0; s < segments(); ++s) {
    mean += weight(s, c) * (positive_(s, c) + T(kLeastSlope));
  }
  mean_slope_[c] = mean;
  T y = 0;
  for (size_t s = 0; s < segments(); ++s) {
    const T slope = (positive_(s, c) + T(kLeastSlope)) / mean;
    slope_(s, c) = scale * slope;
    offset_(s, c) = scale * (y - slope * knots_(s, c)) + shift(c);
    back_slope_(s, c) = 1 / slope_(s, c);
    back_offset_(s, c) = -offset_(s, c) / slope_(s, c);
    y += slope * (knots_(s + 1, c) - knots_(s, c));
    back_knots_(s, c) = scale * y + shift(c);
  }
}

template <class T>
void Spline<T>::parameters_changed() {
  elementwise_kernel::softplus(parameters_.data(), positive_.size(), positive_.data(),
                               positive_by_raw_.data());
  for (size_t c = 0; c < dim(); ++c) tables_of_column(c);
}

template <class T>
bool Spline<T>::usable() const {
  const auto finite = [](T v) { return std::isfinite(v); };
  const auto positive = [](T v) { return v > 0; };
  const Matrix<T>* tables[] = {&slope_, &offset_, &back_slope_, &back_offset_, &back_knots_};
  return std::all_of(slope_.flat().begin(), slope_.flat().end(), positive) &&
         std::all_of(std::begin(tables), std::end(tables), [&](const Matrix<T>* m) {
           return std::all_of(m->flat().begin(), m->flat().end(), finite);
         });
}

template <class T>
spline_kernel::Pieces<T> Spline<T>::forward_pieces() const {
  return {dim(), segments(), knots_.data() + dim(), slope_.data(), offset_.data()};
}

template <class T>
spline_kernel::Pieces<T> Spline<T>::inverse_pieces() const {
  return {dim(), segments(), back_knots_.data(), back_slope_.data(), back_offset_.data()};
}

template <class T>
void Spline<T>::forward(MatrixView<const T> x, MatrixView<T> z, Trace& trace) const {
  trace = x;
  map_rows(forward_pieces(), x, z);
}

template <class T>
void Spline<T>::inverse(MatrixView<const T> z, MatrixView<T> x, Trace& trace) const {
  trace = z;
  map_rows(inverse_pieces(), z, x);
}

template <class T>
void Spline<T>::forward(MatrixView<const T> x, MatrixView<T> z) const {
  parallel_chunks(x.rows, kChunk, [&](size_t first, size_t n) {
    map_rows(forward_pieces(), x.row_range(first, n), z.row_range(first, n));
  });
}

template <class T>
void Spline<T>::inverse(MatrixView<const T> z, MatrixView<T> x) const {
  parallel_chunks(z.rows, kChunk, [&](size_t first, size_t n) {
    map_rows(inverse_pieces(), z.row_range(first, n), x.row_range(first, n));
  });
}

// `sums` holds four tables: moments and totals of the forward map, then of the inverse.
template <class T>
void Spline<T>::forward_backward(const Trace& x, MatrixView<T> dz, std::span<T> sums) const {
  const size_t table = segments() * dim();
  spline_kernel::map_backward(forward_pieces(), x.data, x.stride, dz.data, dz.stride, x.rows, false,
                              &sums[0], &sums[table]);
}

template <class T>
void Spline<T>::inverse_backward(const Trace& z, MatrixView<T> dx, std::span<T> sums) const {
  const size_t table = segments() * dim();
  spline_kernel::map_backward(inverse_pieces(), z.data, z.stride, dx.data, dx.stride, z.rows, true,
                              &sums[2 * table], &sums[3 * table]);
}

// By counting rows above each knot.
template <class T>
Matrix<T> Spline<T>::counts_above_knots(const Trace& x) const {
  Matrix<T> ones(x.rows, dim()), moments(segments(), dim()), counts(segments(), dim());
  std::fill(ones.flat().begin(), ones.flat().end(), T(1));
  spline_kernel::map_backward(forward_pieces(), x.data, x.stride, ones.data(), dim(), x.rows, false,
                              moments.data(), counts.data());
  return counts;
}

template <class T>
double Spline<T>::back_slope_squares(const Trace& trace) const {
  const Matrix<T> above = counts_above_knots(trace);
  double sum = 0;
  for (size_t s = 0; s < segments(); ++s) {
    for (size_t c = 0; c < dim(); ++c) {
      const T next = s + 1 < segments() ? above(s + 1, c) : T(0);
      sum += double(above(s, c) - next) * double(back_slope_(s, c)) * double(back_slope_(s, c));
    }
  }
  return sum;
}

template <class T>
void Spline<T>::back_slope_squares_backward(const Trace& trace, T weight, std::span<T> sums) const {
  const Matrix<T> above = counts_above_knots(trace);
  T* moments = &sums[2 * segments() * dim()];
  for (size_t c = 0; c < dim(); ++c) {
    T over = 0;  // the sums' convention: everything above a knot
    for (size_t s = segments(); s-- > 0;) {
      const T next = s + 1 < segments() ? above(s + 1, c) : T(0);
      over += 2 * weight * back_slope_(s, c) * (above(s, c) - next);
      moments[s * dim() + c] += over;
    }
  }
}

// The chain rule from the tables back to the parameters, segments last to first since y_i depends
// on all slopes before i.
template <class T>
void Spline<T>::gradient_of_column(size_t c, std::span<const T> sums, std::span<T> gradient) const {
  const T scale = positive_(segments(), c) + T(kLeastScale);
  const size_t table = segments() * dim();
  // The kernel sums over everything above a knot; what lies in a segment is a difference.
  const auto sum = [&](size_t which, size_t s) {
    const T* row = &sums[which * table + s * dim() + c];
    return row[0] - (s + 1 < segments() ? row[dim()] : T(0));
  };
  T d_scale = 0, d_above = 0, slopes_dot = 0;
  for (size_t s = segments(); s-- > 0;) {
    const T a = slope_(s, c), b = offset_(s, c);
    const T d_back_offset = sum(3, s);
    const T d_a = sum(0, s) - (sum(2, s) - b * d_back_offset) / (a * a);
    const T d_b = sum(1, s) - d_back_offset / a;
    const T dx = knots_(s + 1, c) - knots_(s, c);
    const T d_slope = scale * (d_a - knots_(s, c) * d_b + dx * d_above);
    d_scale += (d_a * a + d_b * (b - shift(c))) / scale;
    d_above += d_b;
    slopes_dot += d_slope * a / scale;
    gradient[s * dim() + c] = d_slope;
  }
  for (size_t s = 0; s < segments(); ++s) {
    T& d = gradient[s * dim() + c];
    d = (d - slopes_dot * weight(s, c)) / mean_slope_[c] * positive_by_raw_(s, c);
  }
  gradient[segments() * dim() + c] = d_scale * positive_by_raw_(segments(), c);
  gradient[(segments() + 1) * dim() + c] = d_above;
}

template <class T>
void Spline<T>::parameter_gradient(std::span<const T> sums, std::span<T> gradient) const {
  for (size_t c = 0; c < dim(); ++c) gradient_of_column(c, sums, gradient);
}

template class Spline<float>;
template class Spline<double>;

}  // namespace kvsplice::train
