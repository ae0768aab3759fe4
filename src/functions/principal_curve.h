// One number for a vector: its place along a curve through the rows (a principal curve, piecewise
// linear). Rows of a curve in one scalar plus noise keep their noise and little else.
#pragma once

#include <span>
#include <utility>
#include <vector>

#include "core/matrix.h"

namespace kvsplice::functions {

class PrincipalCurve {
 public:
  // points: [m x d], m >= 2; neighbouring points differ.
  explicit PrincipalCurve(Matrix<float> points);

  const Matrix<float>& points() const { return points_; }
  float length() const { return at_.back(); }

  // Length along the curve, from its start, of the point nearest to each row. rows: [n x d].
  std::vector<float> nearest(MatrixView<const float> rows) const;
  // The point at this length; beyond the ends, the end.
  void point(float length, std::span<float> out) const;

 private:
  std::pair<double, double> nearest_on(size_t k, std::span<const float> x) const;
  float place_near(std::span<const float> x, std::span<const double> at_least,
                   double closest) const;

  Matrix<float> points_;
  std::vector<float> at_;      // length at every point
  std::vector<double> norms_;  // squared, of every point
};

}  // namespace kvsplice::functions
