#include "train/principal_curve.h"

#include <fmt/format.h>

#include <algorithm>
#include <cassert>
#include <cmath>

#include "core/threads.h"
#include "linalg/linalg.h"
#include "train/pca.h"
#include "train/tree_order.h"

namespace kvsplice::train {

namespace {

constexpr size_t kChunk = 256;
constexpr size_t kOrderRows = 4096;  // at most so many rows give the first order
constexpr size_t kOrderRank = 16;    // in so many principal components, clear of most noise
constexpr double kSmoothing = 1e-3;  // weight of squared bends, beside the rows of one knot

constexpr double kRounding = 1e-6;  // of float products, relative to the squares of their factors

double squares(std::span<const float> x) {
  double sum = 0;
  for (float v : x) sum += double(v) * double(v);
  return sum;
}

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

PrincipalCurve::PrincipalCurve(Matrix<float> points) : points_(std::move(points)), at_{0} {
  assert(points_.rows() >= 2);
  for (size_t k = 0; k < points_.rows(); ++k) norms_.push_back(squares(points_.row(k)));
  for (size_t k = 0; k + 1 < points_.rows(); ++k) {
    double square = 0;
    for (size_t c = 0; c < points_.cols(); ++c) {
      const double d = double(points_(k + 1, c)) - double(points_(k, c));
      square += d * d;
    }
    at_.push_back(at_.back() + float(std::sqrt(square)));
  }
}

// The nearest point of segment k to x: its squared distance and its share of the way.
std::pair<double, double> PrincipalCurve::nearest_on(size_t k, std::span<const float> x) const {
  double edge = 0, way = 0, from = 0;
  for (size_t c = 0; c < x.size(); ++c) {
    const double p = points_(k, c), e = double(points_(k + 1, c)) - p, d = double(x[c]) - p;
    edge += e * e;
    way += d * e;
    from += d * d;
  }
  const double share = edge > 0 ? std::clamp(way / edge, 0.0, 1.0) : 0;
  return {from - 2 * share * way + share * share * edge, share};
}

// Distances to all corners come from one product, to rounding; a segment is looked at closely if it
// may hold a nearer point than the nearest corner: at most half its length nearer than its ends.
std::vector<float> PrincipalCurve::nearest(MatrixView<const float> rows) const {
  assert(rows.cols == points_.cols());
  const size_t m = points_.rows();
  std::vector<float> found(rows.rows);
  parallel_chunks(rows.rows, kChunk, [&](size_t first, size_t n) {
    Matrix<float> products(n, m);
    std::vector<double> at_least(m);
    gemm(Trans::no, Trans::yes, 1.f, rows.row_range(first, n), points_, 0.f, products);
    for (size_t r = 0; r < n; ++r) {
      const auto x = rows.row(first + r);
      const double norm = squares(x);
      double closest = HUGE_VAL;
      for (size_t k = 0; k < m; ++k) {
        const double square = norm - 2 * double(products(r, k)) + norms_[k];
        const double rounding = kRounding * (norm + norms_[k]);
        at_least[k] = std::sqrt(std::max(0.0, square - rounding));
        closest = std::min(closest, std::sqrt(std::max(0.0, square + rounding)));
      }
      found[first + r] = place_near(x, at_least, closest);
    }
  });
  return found;
}

float PrincipalCurve::place_near(std::span<const float> x, std::span<const double> at_least,
                                 double closest) const {
  double best = HUGE_VAL;
  float place = 0;
  for (size_t k = 0; k + 1 < at_least.size(); ++k) {
    const float edge = at_[k + 1] - at_[k];
    if (std::min(at_least[k], at_least[k + 1]) - edge / 2 > closest) continue;
    const auto [square, share] = nearest_on(k, x);
    if (square < best) best = square, place = at_[k] + float(share) * edge;
  }
  return place;
}

void PrincipalCurve::point(float length, std::span<float> out) const {
  const float s = std::clamp(length, 0.f, at_.back());
  const auto above = std::upper_bound(at_.begin() + 1, at_.end() - 1, s);
  const size_t k = size_t(above - at_.begin()) - 1;
  const float edge = at_[k + 1] - at_[k], share = edge > 0 ? (s - at_[k]) / edge : 0;
  for (size_t c = 0; c < out.size(); ++c) {
    out[c] = points_(k, c) + share * (points_(k + 1, c) - points_(k, c));
  }
}

Result<PrincipalCurve> fit_principal_curve(MatrixView<const float> rows,
                                           const PrincipalCurveOptions& options,
                                           const Progress& progress) {
  assert(rows.rows >= 2 && options.knots >= 2);
  KVS_ASSIGN(const Start start, start_of(rows));
  KVS_ASSIGN(Matrix<float> points, regress(start.rows, start.places, start.length, options.knots));
  PrincipalCurve curve(std::move(points));
  for (size_t i = 0; i < options.iterations; ++i) {
    KVS_TRY(progress.step("fitting the curve", i, options.iterations));
    const std::vector<float> places = curve.nearest(rows);
    const std::vector<double> s(places.begin(), places.end());
    KVS_ASSIGN(points, regress(rows, s, curve.length(), options.knots));
    curve = PrincipalCurve(std::move(points));
  }
  return curve;
}

}  // namespace kvsplice::train
