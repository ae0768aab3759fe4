#include "functions/fourier.h"

#include <gtest/gtest.h>

#include <cmath>
#include <numbers>

#include "functions/least_squares.h"
#include "linalg/linalg.h"

namespace kvsplice::functions {
namespace {

TEST(Fourier, FrequenciesFillTheBandEvenly) {
  const auto f = fourier_frequencies(10, 40, 3);
  ASSERT_EQ(f.size(), 10u);
  for (size_t i = 0; i < f.size(); ++i) {
    EXPECT_GE(f[i], 4.f * float(i));
    EXPECT_LE(f[i], 4.f * float(i + 1));
  }
  EXPECT_EQ(fourier_frequencies(10, 40, 3), f);
  EXPECT_NE(fourier_frequencies(10, 40, 4), f);
  // NumPy: default_rng(3).random(3) * 4 + [0, 4, 8]
  EXPECT_NEAR(f[0], 0.34259667, 1e-6);
  EXPECT_NEAR(f[1], 4.94724203, 1e-6);
  EXPECT_NEAR(f[2], 11.20509786, 1e-6);
}

// What is made of the features is found again, whatever else is in the rows.
TEST(Fourier, LeastSquaresFindsTheWeights) {
  const size_t n = 400;
  const auto frequencies = fourier_frequencies(8, 16, 1);
  const auto features = fourier_features(frequencies, n);
  ASSERT_EQ(features.cols(), 17u);
  Matrix<float> weights(17, 2), rows(n, 2);
  for (size_t i = 0; i < weights.size(); ++i) weights.flat()[i] = float(i % 7) - 3;
  gemm(Trans::no, Trans::no, 1.f, features, weights, 0.f, rows);
  const auto found = least_squares(features, rows);
  ASSERT_TRUE(found.ok());
  for (size_t i = 0; i < weights.size(); ++i) {
    EXPECT_NEAR(found->flat()[i], weights.flat()[i], 1e-3);
  }
  for (size_t r = 0; r < n; r += 37) {
    const double x = double(r) / double(n - 1);
    EXPECT_NEAR(features(r, 3), std::cos(2 * std::numbers::pi * x * frequencies[3]), 1e-6);
    EXPECT_NEAR(features(r, 11), std::sin(2 * std::numbers::pi * x * frequencies[3]), 1e-6);
  }
}

TEST(Fourier, MoreFeaturesThanRowsInterpolate) {
  const auto features = fourier_features(fourier_frequencies(30, 30, 1), 20);
  Matrix<float> rows(20, 1), back(20, 1);
  for (size_t r = 0; r < 20; ++r) rows(r, 0) = float(r * r % 11);
  const auto found = least_squares(features, rows);
  ASSERT_TRUE(found.ok());
  Matrix<float> weights(61, 1);
  std::copy(found->flat().begin(), found->flat().end(), weights.data());
  gemm(Trans::no, Trans::no, 1.f, features, weights, 0.f, back);
  for (size_t r = 0; r < 20; ++r) EXPECT_NEAR(back(r, 0), rows(r, 0), 1e-3);
}

}  // namespace
}  // namespace kvsplice::functions
