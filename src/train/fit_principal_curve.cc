#include "train/fit_principal_curve.h"

#include <fmt/format.h>

#include <algorithm>
#include <cassert>

#include "solve/solve.h"
#include "train/pca.h"
#include "train/tree_order.h"

namespace kvsplice::train {

namespace {

constexpr size_t kOrderRows = 4096;  // at most so many rows give the first order
constexpr size_t kOrderRank = 16;    // in so many principal components, clear of most noise
constexpr double kSmoothing = 1e-3;  // weight of squared bends, beside the rows of one knot

// A place on a curve of evenly spaced knots: `share` of the way from knot `knot` to the next.
struct Place {
  size_t knot;
  double share;
};

Place place_of(double s, double length, size_t knots) {
  const double at = (length > 0 ? std::clamp(s / length, 0.0, 1.0) : 0) * double(knots - 1);
  const size_t knot = std::min(size_t(at), knots - 2);
  return {knot, at - double(knot)};
}

// The piecewise-linear curve of least squares for rows at lengths s of [0, length], with a little
// weight against bends so that knots without rows have a place.
Result<Matrix<float>> regress(MatrixView<const float> rows, std::span<const double> s,
                              double length, size_t knots) {
  Matrix<double> normal(knots, knots), sums(knots, rows.cols);
  for (size_t r = 0; r < rows.rows; ++r) {
    const Place p = place_of(s[r], length, knots);
    const double weight[2] = {1 - p.share, p.share};
    for (size_t i : {0, 1}) {
      for (size_t j : {0, 1}) normal(p.knot + i, p.knot + j) += weight[i] * weight[j];
      for (size_t c = 0; c < rows.cols; ++c) sums(p.knot + i, c) += weight[i] * rows(r, c);
    }
  }
  const double smoothing = kSmoothing * double(rows.rows) / double(knots);
  const double bend[3] = {1, -2, 1};
  for (size_t k = 0; k + 2 < knots; ++k) {
    for (size_t i = 0; i < 3; ++i) {
      for (size_t j = 0; j < 3; ++j) normal(k + i, k + j) += smoothing * bend[i] * bend[j];
    }
  }
  KVS_ASSIGN(const Matrix<double> points, solve_spd(std::move(normal), std::move(sums)));
  Matrix<float> out(knots, rows.cols);
  std::copy_n(points.data(), out.size(), out.data());
  return out;
}

struct Start {
  Matrix<float> rows;
  std::vector<double> places;
  double length = 0;
};

// Rows, evenly picked, with their places along the spanning tree.
Result<Start> start_of(MatrixView<const float> rows) {
  const size_t n = std::min(rows.rows, kOrderRows), rank = std::min(kOrderRank, rows.cols);
  KVS_ASSIGN(const Pca pca, fit_pca(rows, rank));
  Matrix<float> picked(n, rows.cols), along(n, rank);
  for (size_t i = 0; i < n; ++i) {
    std::copy_n(&rows(i * rows.rows / n, 0), rows.cols, picked.row(i).data());
  }
  gemm(Trans::no, Trans::yes, 1.f, picked, pca.basis, 0.f, along);
  std::vector<double> places = tree_order(along);
  const double length = *std::max_element(places.begin(), places.end());
  if (length > 0) return Start{std::move(picked), std::move(places), length};
  return Error{ErrorKind::numeric, fmt::format("no curve through {} rows that are all alike", n)};
}

}  // namespace

Result<functions::PrincipalCurve> fit_principal_curve(MatrixView<const float> rows,
                                                      const PrincipalCurveOptions& options,
                                                      const Progress& progress) {
  assert(rows.rows >= 2 && options.knots >= 2);
  KVS_ASSIGN(const Start start, start_of(rows));
  KVS_ASSIGN(Matrix<float> points, regress(start.rows, start.places, start.length, options.knots));
  functions::PrincipalCurve curve(std::move(points));
  for (size_t i = 0; i < options.iterations; ++i) {
    KVS_TRY(progress.step("fitting the curve", i, options.iterations));
    const std::vector<float> places = curve.nearest(rows);
    const std::vector<double> s(places.begin(), places.end());
    KVS_ASSIGN(points, regress(rows, s, curve.length(), options.knots));
    curve = functions::PrincipalCurve(std::move(points));
  }
  return curve;
}

}  // namespace kvsplice::train
