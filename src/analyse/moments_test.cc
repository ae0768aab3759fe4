#include "analyse/moments.h"

#include <gtest/gtest.h>

#include "analyse/testing.h"

namespace kvsplice::analyse {
namespace {

using namespace testing;

TEST(Moments, AddUpAndMatchTheDefinition) {
  Matrix<float> x = ar1(50, 3, 0.7, 1);
  for (size_t r = 0; r < 50; ++r) x(r, 1) += 100;  // a large mean must not cost the covariance
  Moments m(x.view().row_range(0, 20));
  m += Moments(x.view().row_range(20, 30));
  ASSERT_EQ(m.count, 50);
  const auto mean = m.mean();
  const auto covariance = m.covariance();
  for (size_t i = 0; i < 3; ++i) {
    double sum = 0;
    for (size_t r = 0; r < 50; ++r) sum += double(x(r, i)) / 50;
    EXPECT_NEAR(mean[i], sum, 1e-10);
  }
  for (size_t i = 0; i < 3; ++i) {
    for (size_t j = 0; j < 3; ++j) {
      double expected = 0;
      for (size_t r = 0; r < 50; ++r) expected += (x(r, i) - mean[i]) * (x(r, j) - mean[j]) / 50;
      EXPECT_NEAR(covariance(i, j), expected, 1e-9);
    }
  }
}

TEST(Moments, ColumnsAreTheMomentsOfColumns) {
  const Matrix<float> x = white(30, 6, 2);
  const Moments part = Moments(x).columns(2, 3);
  const Moments direct(x.view().col_range(2, 3));
  EXPECT_EQ(part.count, direct.count);
  for (size_t i = 0; i < 3; ++i) EXPECT_NEAR(part.sum[i], direct.sum[i], 1e-12);
  for (size_t i = 0; i < 9; ++i) {
    EXPECT_NEAR(part.products.flat()[i], direct.products.flat()[i], 1e-10);
  }
}

TEST(Moments, MeanShareOfKnownMeanAndVariance) {
  Matrix<float> x = white(20000, 4, 3);
  for (float& v : x.flat()) v += 2;  // energy 4 of 5 is the mean's
  EXPECT_NEAR(Moments(x).mean_share(), 0.8, 0.005);
  EXPECT_LT(Moments(white(20000, 4, 3)).mean_share(), 0.001);
  EXPECT_EQ(Moments(Matrix<float>(5, 2)).mean_share(), 0);
}

TEST(ExcessKurtosis, OfKnownDistributions) {
  EXPECT_NEAR(excess_kurtosis(white(40000, 4, 4)), 0, 0.05);
  EXPECT_NEAR(excess_kurtosis(tone(1000, 2, 10)), -1.5, 1e-4);
  Random random(5);
  Matrix<float> laplace(40000, 4);
  for (float& v : laplace.flat()) {
    v = static_cast<float>(std::log((1 - random.uniform()) / (1 - random.uniform())));
  }
  EXPECT_NEAR(excess_kurtosis(laplace), 3, 0.3);
}

TEST(ExcessKurtosis, SkipsConstantColumns) {
  Matrix<float> x = tone(1000, 2, 10);
  for (size_t t = 0; t < 1000; ++t) x(t, 0) = 3;
  EXPECT_NEAR(excess_kurtosis(x), -1.5, 1e-4);
  EXPECT_EQ(excess_kurtosis(Matrix<float>(3, 2)), 0);
}

}  // namespace
}  // namespace kvsplice::analyse
