#include "train/rate_loss.h"

#include <gtest/gtest.h>

#include <numeric>

namespace kvsplice::train {
namespace {

using functions::Spline;

constexpr size_t kRows = 90, kDim = 4;

struct Problem {
  Problem() : rows(kRows, kDim), basis(kDim, kDim), picked(kRows) {
    Random random(3);
    for (double& x : rows.flat()) x = random.normal();
    for (size_t r = 0; r < kRows; ++r) rows(r, 1) = 0.9 * rows(r, 0) + 0.3 * rows(r, 1);
    basis(0, 0) = basis(0, 1) = basis(1, 0) = std::sqrt(0.5);
    basis(1, 1) = -std::sqrt(0.5);
    basis(2, 2) = basis(3, 3) = 1;
    std::iota(picked.begin(), picked.end(), 0);
  }
  Spline<double> spline() const {
    Matrix<double> knots(5, kDim);
    for (size_t c = 0; c < kDim; ++c) {
      for (size_t k = 0; k < 5; ++k) knots(k, c) = -1.1 + 0.55 * double(k) + 0.01 * double(c);
    }
    return Spline<double>(knots);
  }

  Matrix<double> rows, basis;
  std::vector<uint32_t> picked;
};

double evaluate(const Problem& p, const Spline<double>& spline, std::vector<double>& gradient) {
  RateLoss<double> loss(spline, 0.1, kRows);
  loss.set_pca(std::span<const double>(), p.basis);
  gradient.resize(spline.parameters().size());
  return loss.evaluate(p.rows, p.picked, gradient);
}

TEST(RateLoss, GradientIsThatOfFiniteDifferences) {
  const Problem problem;
  Spline<double> spline = problem.spline();
  Random random(8);
  for (double& x : spline.parameters()) x = 0.7 * random.normal();
  spline.parameters_changed();
  std::vector<double> gradient, unused;
  evaluate(problem, spline, gradient);
  double largest = 0;
  for (size_t i = 0; i < gradient.size(); ++i) {
    const double before = spline.parameters()[i], h = 1e-6;
    double value[2];
    for (int side : {0, 1}) {
      spline.parameters()[i] = before + (side ? h : -h);
      spline.parameters_changed();
      value[side] = evaluate(problem, spline, unused);
    }
    spline.parameters()[i] = before;
    EXPECT_NEAR(gradient[i], (value[1] - value[0]) / (2 * h), 1e-8) << "parameter " << i;
    largest = std::max(largest, std::abs(gradient[i]));
  }
  EXPECT_GT(largest, 1e-2);
}

TEST(RateLoss, IsTheRateOfGaussiansOnTheIdentity) {
  const Problem problem;
  std::vector<double> unused;
  double wanted = 0;
  for (size_t k = 0; k < kDim; ++k) {
    double mean = 0, square = 0;
    for (size_t r = 0; r < kRows; ++r) {
      double along = 0;
      for (size_t c = 0; c < kDim; ++c) along += problem.basis(k, c) * problem.rows(r, c);
      mean += along / kRows;
      square += along * along / kRows;
    }
    wanted += 0.5 * std::log2(1 + (square - mean * mean) / 0.01) / kDim;
  }
  EXPECT_NEAR(evaluate(problem, problem.spline(), unused), wanted, 1e-12);
}

TEST(RateLoss, StretchingGainsNothing) {
  const Problem problem;
  Spline<double> spline = problem.spline();
  std::vector<double> unused;
  const double before = evaluate(problem, spline, unused);
  for (size_t c = 0; c < kDim; ++c) spline.parameters()[spline.segments() * kDim + c] = 3;
  spline.parameters_changed();
  EXPECT_NEAR(evaluate(problem, spline, unused), before, 1e-12);
}

}  // namespace
}  // namespace kvsplice::train
