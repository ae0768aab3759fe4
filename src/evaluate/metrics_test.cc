#include "evaluate/metrics.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "core/random.h"

namespace kvsplice::evaluate {
namespace {

using Vector = std::vector<float>;

Matrix<float> noise(size_t rows, size_t cols, uint64_t seed, double scale = 1) {
  Random random(seed);
  Matrix<float> x(rows, cols);
  for (float& v : x.flat()) v = static_cast<float>(scale * random.normal());
  return x;
}

TEST(Cosine, OfKnownAngles) {
  EXPECT_NEAR(cosine(Vector{1, 0}, Vector{1, 1}), std::sqrt(0.5), 1e-12);
  EXPECT_EQ(cosine(Vector{3, 4}, Vector{6, 8}), 1);
  EXPECT_EQ(cosine(Vector{1, 2}, Vector{-1, -2}), -1);
  EXPECT_EQ(cosine(Vector{1, 0}, Vector{0, 1}), 0);
}

TEST(Cosine, OfZeroTinyAndHugeVectors) {
  EXPECT_EQ(cosine(Vector{0, 0}, Vector{0, 0}), 1);
  EXPECT_EQ(cosine(Vector{0, 0}, Vector{1, 0}), 0);
  EXPECT_EQ(cosine(Vector{1, 0}, Vector{0, 0}), 0);
  EXPECT_EQ(cosine(Vector{}, Vector{}), 1);
  EXPECT_NEAR(cosine(Vector{1e-30f, 0}, Vector{1e-30f, 1e-30f}), std::sqrt(0.5), 1e-6);
  EXPECT_NEAR(cosine(Vector{3e38f, 3e38f}, Vector{3e38f, 0}), std::sqrt(0.5), 1e-6);
}

TEST(VectorErrors, OfExactCopiesAreZero) {
  const auto x = noise(10, 8, 1);
  VectorErrors e;
  ASSERT_TRUE(e.add(x, x, 4).ok());
  EXPECT_EQ(e.vectors(), 20);
  EXPECT_NEAR(e.cosine_mean(), 1, 1e-12);
  EXPECT_NEAR(e.cosine_min(), 1, 1e-12);
  EXPECT_NEAR(e.cosine_std(), 0, 1e-12);
  EXPECT_EQ(e.sums().mse(), 0);
  EXPECT_EQ(e.sums().relative_rms(), 0);
}

TEST(VectorErrors, OfKnownVectors) {
  Matrix<float> original(2, 4), decoded(2, 4);
  original(0, 0) = 2, decoded(0, 0) = 1;   // cosine 1
  original(0, 2) = 1, decoded(0, 3) = 1;   // cosine 0
  original(1, 0) = 3, decoded(1, 0) = -3;  // cosine -1, and two zero vectors: 1
  VectorErrors e;
  ASSERT_TRUE(e.add(original, decoded, 2).ok());
  EXPECT_DOUBLE_EQ(e.cosine_mean(), 0.25);
  EXPECT_DOUBLE_EQ(e.cosine_min(), -1);
  EXPECT_NEAR(e.cosine_std(), std::sqrt(3.0 / 4 - 0.0625), 1e-12);
  EXPECT_DOUBLE_EQ(e.sums().mse(), (1 + 1 + 1 + 36) / 8.0);
  EXPECT_DOUBLE_EQ(e.sums().relative_rms(), std::sqrt(39.0 / 14));
}

TEST(VectorErrors, OfAddedNoiseFollowItsVariance) {
  const auto x = noise(2000, 64, 2);
  Matrix<float> y = x;
  const auto extra = noise(2000, 64, 3, 0.1);
  for (size_t i = 0; i < y.size(); ++i) y.flat()[i] += extra.flat()[i];
  VectorErrors e;
  ASSERT_TRUE(e.add(x, y, 64).ok());
  EXPECT_NEAR(e.sums().mse(), 0.01, 0.0002);
  EXPECT_NEAR(e.sums().relative_rms(), 0.1, 0.001);
  EXPECT_NEAR(e.cosine_mean(), 1 / std::sqrt(1.01), 0.0002);
}

TEST(VectorErrors, StdOfCosinesNearOneDoesNotCancel) {
  Matrix<float> original(2, 2), decoded(2, 2);
  const double angles[] = {1e-3, 2e-3};
  for (size_t r = 0; r < 2; ++r) {
    original(r, 0) = 1;
    decoded(r, 0) = static_cast<float>(std::cos(angles[r]));
    decoded(r, 1) = static_cast<float>(std::sin(angles[r]));
  }
  VectorErrors e;
  ASSERT_TRUE(e.add(original, decoded, 2).ok());
  EXPECT_NEAR(e.cosine_std(), (std::cos(1e-3) - std::cos(2e-3)) / 2, 1e-9);
}

TEST(VectorErrors, PartsAddUp) {
  const auto x = noise(30, 8, 4), y = noise(30, 8, 5);
  VectorErrors whole, first, second;
  ASSERT_TRUE(whole.add(x, y, 4).ok());
  ASSERT_TRUE(first.add(x.view().row_range(0, 13), y.view().row_range(0, 13), 4).ok());
  ASSERT_TRUE(second.add(x.view().row_range(13, 17), y.view().row_range(13, 17), 4).ok());
  first += second;
  EXPECT_EQ(first.vectors(), whole.vectors());
  EXPECT_NEAR(first.cosine_mean(), whole.cosine_mean(), 1e-12);
  EXPECT_EQ(first.cosine_min(), whole.cosine_min());
  EXPECT_NEAR(first.sums().mse(), whole.sums().mse(), 1e-12);
}

TEST(VectorErrors, NameADecodedValueThatIsNotFinite) {
  const Matrix<float> x(3, 4);
  for (float bad :
       {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()}) {
    Matrix<float> y(3, 4);
    y(2, 1) = bad;
    const auto added = VectorErrors().add(x, y, 4);
    ASSERT_FALSE(added.ok());
    EXPECT_EQ(added.error().kind, ErrorKind::numeric);
    EXPECT_THAT(added.error().message, ::testing::HasSubstr("row 2, column 1"));
  }
}

TEST(VectorErrors, OfNothingAreZero) {
  const VectorErrors e;
  EXPECT_EQ(e.cosine_mean(), 0);
  EXPECT_EQ(e.cosine_min(), 0);
  EXPECT_EQ(e.cosine_std(), 0);
  EXPECT_EQ(e.sums().mse(), 0);
}

TEST(ErrorSums, OfZeroOriginals) {
  ErrorSums sums;
  Matrix<float> zero(1, 2), one(1, 2);
  sums.add(zero, zero);
  EXPECT_EQ(sums.relative_rms(), 0);
  one(0, 0) = 1;
  sums.add(zero, one);
  EXPECT_TRUE(std::isinf(sums.relative_rms()));
  one(0, 0) = std::numeric_limits<float>::quiet_NaN();
  sums.add(zero, one);
  EXPECT_TRUE(std::isnan(sums.relative_rms()));
}

}  // namespace
}  // namespace kvsplice::evaluate
