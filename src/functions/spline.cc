#include "functions/spline.h"

#include <algorithm>
#include <cassert>
#include <cmath>

#include "core/threads.h"
#include "functions/elementwise_kernel.h"

namespace kvsplice::functions {

namespace {

constexpr double kLeastSlope = 1e-4, kLeastMean = 1e-8, kLeastScale = 1e-3;

constexpr size_t kChunk = 256;  // rows of a task when all threads work

template <class T>
void map_rows(const spline_kernel::Pieces<T>& pieces, MatrixView<const T> in, MatrixView<T> out) {
  assert(in.cols == pieces.dim && out.cols == pieces.dim && in.rows == out.rows);
  spline_kernel::map(pieces, in.data, in.stride, out.data, out.stride, in.rows);
}

// Of columns whose knots are all equal, every segment has the same.
template <class T>
Matrix<T> shares(const Matrix<T>& knots) {
  const size_t segments = knots.rows() - 1;
  Matrix<T> share(segments, knots.cols());
  for (size_t s = 0; s < segments; ++s) {
    for (size_t c = 0; c < knots.cols(); ++c) {
      const T width = knots(segments, c) - knots(0, c);
      share(s, c) = width > 0 ? (knots(s + 1, c) - knots(s, c)) / width : 1 / T(segments);
    }
  }
  return share;
}

}  // namespace

template <class T>
Spline<T>::Spline(Matrix<T> knots)
    : knots_(std::move(knots)),
      share_(shares(knots_)),
      parameters_((segments() + 2) * dim()),
      positive_(segments() + 1, dim()),
      positive_by_raw_(segments() + 1, dim()),
      mean_slope_(dim()),
      height_(dim()),
      slope_(segments(), dim()),
      offset_(segments(), dim()),
      back_slope_(segments(), dim()),
      back_offset_(segments(), dim()),
      back_knots_(segments(), dim()) {
  parameters_changed();
}

template <class T>
T Spline<T>::scale(size_t c) const {
  return positive_(segments(), c) + T(kLeastScale);
}

// Columns inside: they are independent and lie side by side, which vectors like.
template <class T>
void Spline<T>::parameters_changed() {
  elementwise_kernel::softplus(parameters_.data(), positive_.size(), positive_.data(),
                               positive_by_raw_.data());
  const T* shift = &parameters_[(segments() + 1) * dim()];
  std::fill(mean_slope_.begin(), mean_slope_.end(), T(kLeastMean));
  std::fill(height_.begin(), height_.end(), T(0));
  for (size_t s = 0; s < segments(); ++s) {
    for (size_t c = 0; c < dim(); ++c) {
      mean_slope_[c] += share_(s, c) * (positive_(s, c) + T(kLeastSlope));
    }
  }
  for (size_t s = 0; s < segments(); ++s) {
    for (size_t c = 0; c < dim(); ++c) {
      const T slope = (positive_(s, c) + T(kLeastSlope)) / mean_slope_[c];
      slope_(s, c) = scale(c) * slope;
      offset_(s, c) = scale(c) * (height_[c] - slope * knots_(s, c)) + shift[c];
      back_slope_(s, c) = 1 / slope_(s, c);
      back_offset_(s, c) = -offset_(s, c) / slope_(s, c);
      height_[c] += slope * (knots_(s + 1, c) - knots_(s, c));
      back_knots_(s, c) = scale(c) * height_[c] + shift[c];
    }
  }
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

// Row 0 of `sums` belongs to the shift, row 1 to the first slope, row 1 + s to the bend at knot s.
template <class T>
void Spline<T>::forward_backward(const Trace& x, MatrixView<T> dz, std::span<T> sums) const {
  spline_kernel::add_bend_sums(bends(), x.data, x.stride, dz.data, dz.stride, x.rows, T(1),
                               sums.data());
}

// If the forward map f is changed by df, its inverse changes by -df(x) / f'(x): the gradient of z
// is that of -f at the outcome. A few rows at a time, which then are still near.
template <class T>
double Spline<T>::inverse_error(Matrix<T>& z, const Matrix<T>& x, T weight, BackTrace& trace,
                                std::span<T> sums) const {
  constexpr size_t kRows = 16;
  if (trace.rows() != kRows || trace.cols() != dim()) trace = Matrix<T>(kRows, dim());
  double squares = 0;
  for (size_t r = 0; r < z.rows(); r += kRows) {
    const size_t n = std::min(kRows, z.rows() - r);
    T* const rows = z.row(r).data();
    squares += spline_kernel::map_error(inverse_pieces(), rows, x.row(r).data(), n, weight,
                                        trace.data(), rows);
    spline_kernel::add_bend_sums(bends(), trace.data(), dim(), rows, dim(), n, T(-1), sums.data());
  }
  return squares;
}

template <class T>
Matrix<T> Spline<T>::counts_above_knots(const Trace& x) const {
  Matrix<T> counts(segments(), dim());
  spline_kernel::count_above(forward_pieces(), x.data, x.stride, x.rows, counts.data());
  return counts;
}

namespace {

// Of tables whose row s counts what lies above knot s.
template <class T>
T in_segment(const Matrix<T>& above, size_t s, size_t c) {
  return above(s, c) - (s + 1 < above.rows() ? above(s + 1, c) : T(0));
}

}  // namespace

template <class T>
double Spline<T>::back_slope_squares(const Matrix<T>& counts) const {
  double sum = 0;
  for (size_t s = 0; s < segments(); ++s) {
    for (size_t c = 0; c < dim(); ++c) {
      const double slope = back_slope_(s, c);
      sum += double(in_segment(counts, s, c)) * slope * slope;
    }
  }
  return sum;
}

template <class T>
void Spline<T>::back_slope_squares_backward(const Matrix<T>& counts, T weight,
                                            std::span<T> sums) const {
  std::vector<T> over(dim());  // a bend counts in all segments behind it
  for (size_t s = segments(); s-- > 0;) {
    for (size_t c = 0; c < dim(); ++c) {
      const T slope = back_slope_(s, c);
      over[c] -= 2 * weight * in_segment(counts, s, c) * slope * slope * slope;
      sums[(1 + s) * dim() + c] += over[c];
    }
  }
}

// Columns inside, as in parameters_changed().
template <class T>
void Spline<T>::parameter_gradient(std::span<const T> sums, std::span<T> gradient) const {
  const T* const by_bend = &sums[dim()];
  T* const by_scale = &gradient[segments() * dim()];
  std::fill_n(by_scale, dim(), T(0));
  for (size_t s = 0; s < segments(); ++s) {
    const T* const here = by_bend + s * dim();
    const T* const next = s + 1 < segments() ? here + dim() : nullptr;
    for (size_t c = 0; c < dim(); ++c) {
      const T by_slope = here[c] - (next != nullptr ? next[c] : T(0));
      gradient[s * dim() + c] = by_slope * scale(c);
      by_scale[c] += by_slope * slope_(s, c) / scale(c);
    }
  }
  for (size_t s = 0; s < segments(); ++s) {
    for (size_t c = 0; c < dim(); ++c) {
      T& d = gradient[s * dim() + c];
      d = (d - by_scale[c] * scale(c) * share_(s, c)) / mean_slope_[c] * positive_by_raw_(s, c);
    }
  }
  for (size_t c = 0; c < dim(); ++c) by_scale[c] *= positive_by_raw_(segments(), c);
  std::copy_n(sums.data(), dim(), &gradient[(segments() + 1) * dim()]);
}

template class Spline<float>;
template class Spline<double>;

}  // namespace kvsplice::functions
