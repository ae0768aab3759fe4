#include "train/bottleneck.h"

#include <gtest/gtest.h>

#include <numeric>

#include "functions/flow.h"
#include "functions/spline.h"
#include "train/geometric_mix.h"
#include "train/quantile_knots.h"

namespace kvsplice::train {
namespace {

using functions::Flow;
using functions::Spline;

constexpr size_t kRows = 70, kDim = 6, kRank = 2;  // more rows than a chunk has

Matrix<double> normals(Random& random, size_t rows, size_t cols) {
  Matrix<double> m(rows, cols);
  for (double& x : m.flat()) x = random.normal();
  return m;
}

// Rows near a plane, a mean and a basis for the bottleneck, in double.
struct Problem {
  Problem() : random(17), rows(normals(random, kRows, kDim)), mean(kDim), basis(kRank, kDim) {
    for (double& x : rows.flat()) x = std::tanh(x) + 0.3 * x * x;
    for (double& x : mean) x = 0.3 * random.normal();
    basis(0, 0) = basis(1, 1) = basis(0, 2) = basis(1, 3) = std::sqrt(0.5);
    picked.resize(kRows);
    std::iota(picked.begin(), picked.end(), 0);
  }

  Random random;
  Matrix<double> rows;
  std::vector<double> mean;
  Matrix<double> basis;
  std::vector<uint32_t> picked;
};

// Gradient against central differences. Segments of a spline are constants for the gradient, so a
// value that changes segment within the step would count; steps of 1e-6 make that unlikely.
template <class Warp>
void check_gradient(Problem& problem, Warp& warp, const Whitening& whitening) {
  BottleneckLoss<Warp> loss(warp, kRank, whitening, kRows);
  loss.set_pca(std::span<const double>(problem.mean), problem.basis);
  std::vector<double> gradient(warp.parameters().size()), unused(gradient.size());
  loss.evaluate(problem.rows, problem.picked, gradient);
  const auto at = [&](size_t i, double value) {
    const double before = std::exchange(warp.parameters()[i], value);
    warp.parameters_changed();
    const double l = loss.evaluate(problem.rows, problem.picked, unused);
    warp.parameters()[i] = before;
    warp.parameters_changed();
    return l;
  };
  double largest = 0;
  for (size_t i = 0; i < gradient.size(); ++i) {
    const double p = warp.parameters()[i], h = 1e-6;
    const double difference = (at(i, p + h) - at(i, p - h)) / (2 * h);
    EXPECT_NEAR(gradient[i], difference, 1e-7 + 1e-5 * std::abs(difference)) << "parameter " << i;
    largest = std::max(largest, std::abs(difference));
  }
  EXPECT_GT(largest, 1e-3);
}

Spline<double> some_spline(Problem& problem) {
  Matrix<double> knots(5, kDim);
  for (size_t c = 0; c < kDim; ++c) {
    for (size_t k = 0; k < 5; ++k)
      knots(k, c) = -1 + 0.6 * double(k) + 0.1 * problem.random.normal();
  }
  Spline<double> spline(knots);
  for (double& p : spline.parameters()) p = 0.7 * problem.random.normal();
  spline.parameters_changed();
  return spline;
}

Flow<double> some_flow(Problem& problem) {
  Flow<double> flow = Flow<double>::create({kDim, 3, 5}, 1).value();
  for (double& p : flow.parameters()) p = 0.3 * problem.random.normal();
  return flow;
}

TEST(Bottleneck, SplineGradient) {
  Problem problem;
  auto spline = some_spline(problem);
  check_gradient(problem, spline, {});
}

TEST(Bottleneck, SplineGradientWithAConstantColumn) {
  Problem problem;
  Matrix<double> knots(4, kDim);
  for (size_t c = 0; c + 1 < kDim; ++c) {
    for (size_t k = 0; k < 4; ++k) knots(k, c) = double(k) - 1;
  }
  Spline<double> spline(knots);  // the last column's knots are all 0
  for (double& p : spline.parameters()) p = 0.7 * problem.random.normal();
  spline.parameters_changed();
  check_gradient(problem, spline, {});
}

TEST(Bottleneck, FlowGradient) {
  Problem problem;
  auto flow = some_flow(problem);
  check_gradient(problem, flow, {});
}

TEST(Bottleneck, WorkingWhiteningGradient) {
  Problem problem;
  auto flow = some_flow(problem);
  check_gradient(problem, flow, {0.3, Whitening::Gradient::working});
}

// The seed's whitening shows in the loss and leaves the gradient as it is.
TEST(Bottleneck, ReferenceWhiteningHasNoGradient) {
  Problem problem;
  auto flow = some_flow(problem);
  std::vector<double> without(flow.parameters().size()), with(without.size());
  BottleneckLoss<Flow<double>> plain(flow, kRank, {}, kRows);
  BottleneckLoss<Flow<double>> whitened(flow, kRank, {0.3, Whitening::Gradient::none}, kRows);
  for (auto* l : {&plain, &whitened}) {
    l->set_pca(std::span<const double>(problem.mean), problem.basis);
  }
  const double less = plain.evaluate(problem.rows, problem.picked, without);
  const double more = whitened.evaluate(problem.rows, problem.picked, with);
  EXPECT_EQ(without, with);
  Matrix<double> z(kRows, kDim);
  flow.forward(problem.rows, z);
  double term = 0;
  for (size_t c = 0; c < kDim; ++c) {
    double mean = 0, variance = 0;
    for (size_t r = 0; r < kRows; ++r) mean += z(r, c) / kRows;
    for (size_t r = 0; r < kRows; ++r) variance += std::pow(z(r, c) - mean, 2) / kRows;
    term += 0.3 * (mean * mean + std::pow(variance - 1, 2)) / kDim;
  }
  EXPECT_NEAR(more - less, term, 1e-12);
}

TEST(Bottleneck, LossIsTheMeanSquaredErrorOfTheWayThere) {
  Problem problem;
  const auto flow = some_flow(problem);
  BottleneckLoss<Flow<double>> loss(flow, kRank, {}, kRows);
  loss.set_pca(std::span<const double>(problem.mean), problem.basis);
  std::vector<double> gradient(flow.parameters().size());
  const double l = loss.evaluate(problem.rows, problem.picked, gradient);
  Matrix<double> z(kRows, kDim), y(kRows, kDim);
  flow.forward(problem.rows, z);
  for (size_t r = 0; r < kRows; ++r) {
    for (size_t c = 0; c < kDim; ++c) y(r, c) = problem.mean[c];
    for (size_t k = 0; k < kRank; ++k) {
      double along = 0;
      for (size_t c = 0; c < kDim; ++c) along += (z(r, c) - problem.mean[c]) * problem.basis(k, c);
      for (size_t c = 0; c < kDim; ++c) y(r, c) += along * problem.basis(k, c);
    }
  }
  flow.inverse(y, y);
  double squares = 0;
  for (size_t i = 0; i < y.size(); ++i)
    squares += std::pow(y.flat()[i] - problem.rows.flat()[i], 2);
  EXPECT_NEAR(l, squares / double(y.size()), 1e-12);
}

// The seed's figures for its spline after 20 epochs; single runs move by about 1e-6 with the seed.
TEST(Bottleneck, SplineGivesTheReferenceTable) {
  const GeometricMix mix = geometric_mix().value();
  Spline<float> spline(quantile_knots(mix.train, 7));
  WarpFitOptions options;
  options.optimiser.rate = 2e-3;
  ASSERT_TRUE(fit_through_pca(spline, mix.train, 16, options).ok());
  Matrix<float> warped(mix.train.rows(), mix.train.cols());
  spline.forward(mix.train, warped);
  const Pca pca = fit_pca(warped, 64).value();
  const std::pair<size_t, double> table[] = {{8, 1312e-6}, {12, 826e-6}, {16, 788e-6}, {24, 733e-6},
                                             {32, 675e-6}, {48, 562e-6}, {64, 451e-6}};
  for (const auto& [rank, error] : table) {
    EXPECT_NEAR(warped_pca_error(spline, pca, rank, mix.test), error, 2e-6) << "k = " << rank;
  }
}

TEST(Bottleneck, ResultDoesNotDependOnThreads) {
  const GeometricMix mix = geometric_mix({800, 20, 0.03, 1}).value();
  const auto parameters = [&](int threads) {
    const int before = thread_count();
    set_thread_count(threads);
    Flow<float> flow = Flow<float>::create({20, 2, 16}, 1).value();
    WarpFitOptions options;
    options.epochs = 2;
    options.clip = 1;
    const Whitening whitening{1e-4, Whitening::Gradient::working};
    EXPECT_TRUE(fit_through_pca(flow, mix.train, 16, options, whitening).ok());
    set_thread_count(before);
    return std::vector<float>(flow.parameters().begin(), flow.parameters().end());
  };
  EXPECT_EQ(parameters(1), parameters(3));
}

TEST(Bottleneck, FewerRowsThanABatchAndStopping) {
  const GeometricMix mix = geometric_mix({40, 6, 0.03, 1}).value();
  Spline<float> spline(quantile_knots(mix.train, 7));
  const WarpFitOptions options;
  const std::vector<float> start(spline.parameters().begin(), spline.parameters().end());
  EXPECT_TRUE(fit_through_pca(spline, mix.train, 2, options).ok());
  EXPECT_NE(start, std::vector<float>(spline.parameters().begin(), spline.parameters().end()));
  const Progress stop{[](const std::string&, size_t, size_t) { return false; }};
  EXPECT_EQ(fit_through_pca(spline, mix.train, 2, options, {}, stop).error().kind,
            ErrorKind::interrupted);
}

}  // namespace
}  // namespace kvsplice::train
