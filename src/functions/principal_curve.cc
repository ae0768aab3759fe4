#include "functions/principal_curve.h"

#include <algorithm>
#include <cassert>
#include <cmath>

#include "core/threads.h"
#include "linalg/linalg.h"

namespace kvsplice::functions {

namespace {

constexpr size_t kChunk = 256;

constexpr double kRounding = 1e-6;  // of float products, relative to the squares of their factors

double squares(std::span<const float> x) {
  double sum = 0;
  for (float v : x) sum += double(v) * double(v);
  return sum;
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

}  // namespace kvsplice::functions
