// The KVSplice seed's warp: per column a monotone piecewise-linear map with fixed knots (quantiles
// of the rows) and learned slopes. Both directions are piecewise-linear maps from tables.
//
// Parameters, each a row of `dim` numbers: K - 1 raw slopes, raw scale, shift; all zero at the
// start.
//   u = softplus(raw) + 1e-4              slope_s = u_s / (mean of u weighted by dx + 1e-8)
//   y_0 = 0, y_(i+1) = y_i + slope_i dx_i scale = softplus(raw scale) + 1e-3
//   z = scale (y_i + slope_i (x - x_i)) + shift      in segment i; the end segments go on.
// The seed's inverse divides by slope + 1e-8, which float cannot tell from slope; here it is exact.
#pragma once

#include <span>
#include <vector>

#include "core/matrix.h"
#include "functions/spline_kernel.h"

namespace kvsplice::functions {

template <class T>
class Spline {
 public:
  using Scalar = T;
  using Trace = MatrixView<const T>;  // what the reverse needs: the input
  using BackTrace = Matrix<T>;        // room for the outcome

  explicit Spline(Matrix<T> knots);  // [K x dim], K >= 2, ascending in every column

  size_t dim() const { return knots_.cols(); }
  size_t segments() const { return knots_.rows() - 1; }
  const Matrix<T>& knots() const { return knots_; }

  std::span<T> parameters() { return parameters_; }
  std::span<const T> parameters() const { return parameters_; }
  void parameters_changed();  // call after writing to parameters()
  bool usable() const;        // all tables are finite and slopes positive

  // Of any number of rows, on all threads; out may be in.
  void forward(MatrixView<const T> x, MatrixView<T> z) const;
  void inverse(MatrixView<const T> z, MatrixView<T> x) const;
  // Of one chunk of rows on the caller's thread, keeping what the reverse needs.
  void forward(MatrixView<const T> x, MatrixView<T> z, Trace& trace) const;

  // Gradients are gathered in `sums` (size sums_size(), zeroed by the caller) as those of the bends
  // of the forward map, and turned into those of the parameters once.
  size_t sums_size() const { return (segments() + 1) * dim(); }
  void forward_backward(const Trace& trace, MatrixView<T> dz,
                        std::span<T> sums) const;  // spends dz
  // The way back of z, what it misses x by, and the reverse of both: z becomes its gradient of
  // weight / 2 times the sum of squares that is returned.
  double inverse_error(Matrix<T>& z, const Matrix<T>& x, T weight, BackTrace& trace,
                       std::span<T> sums) const;
  // Of a trace: row 0 holds the number of rows, row s how many lie above knot s.
  Matrix<T> counts_above_knots(const Trace& trace) const;
  // Sum over rows and columns of (dx/dz)^2, and its gradient times `weight`.
  double back_slope_squares(const Matrix<T>& counts) const;
  void back_slope_squares_backward(const Matrix<T>& counts, T weight, std::span<T> sums) const;
  void parameter_gradient(std::span<const T> sums, std::span<T> gradient) const;

  // Tables of the two directions, [segments x dim].
  spline_kernel::Pieces<T> forward_pieces() const;
  spline_kernel::Pieces<T> inverse_pieces() const;

 private:
  spline_kernel::Bends<T> bends() const { return {dim(), segments(), knots_.data()}; }
  T scale(size_t c) const;

  Matrix<T> knots_;            // [K x dim]
  Matrix<T> share_;            // [segments x dim], of a segment in the mean slope
  std::vector<T> parameters_;  // [segments + 2 x dim]
  // softplus of the raw slopes and, in the last row, of the raw scale; and its derivatives.
  Matrix<T> positive_, positive_by_raw_;             // [segments + 1 x dim]
  std::vector<T> mean_slope_, height_;               // size dim: before normalising; y at a knot
  Matrix<T> slope_, offset_;                         // x -> z
  Matrix<T> back_slope_, back_offset_, back_knots_;  // z -> x
};

extern template class Spline<float>;
extern template class Spline<double>;

}  // namespace kvsplice::functions
