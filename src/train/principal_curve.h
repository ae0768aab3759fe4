// One number for a vector: its place along a curve through the rows (a principal curve, piecewise
// linear). Rows of a curve in one scalar plus noise keep their noise and little else.
#pragma once

#include <span>
#include <utility>
#include <vector>

#include "core/progress.h"
#include "kvsplice/matrix.h"
#include "kvsplice/result.h"

namespace kvsplice::train {

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

struct PrincipalCurveOptions {
  size_t knots = 64;
  size_t iterations = 10;  // of projection and regression
};

// Starts from the order of the rows along their spanning tree (tree_order.h); then, in turn, every
// row finds its nearest point, and the curve becomes the regression of the rows on their places.
// rows: [n x d], n >= 2.
Result<PrincipalCurve> fit_principal_curve(MatrixView<const float> rows,
                                           const PrincipalCurveOptions& options,
                                           const Progress& progress = {});

}  // namespace kvsplice::train
