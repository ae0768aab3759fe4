#include "quality/rate_curve.h"

#include <gtest/gtest.h>

#include <cmath>

namespace kvsplice::quality {
namespace {

// kld = 1e-3 ratio^2, a straight line in logarithms, out of order.
std::vector<RatePoint> square_law() { return {{10, 0.1}, {2, 0.004}, {5, 0.025}}; }

TEST(RatioAt, IsExactOnAPowerLaw) {
  for (double ratio : {2.0, 2.5, 5.0, 7.0, 9.99}) {
    const auto found = ratio_at(square_law(), 1e-3 * ratio * ratio * (1 + 1e-12));
    ASSERT_TRUE(found) << ratio;
    EXPECT_NEAR(found->ratio, ratio, 1e-9 * ratio);
    EXPECT_FALSE(found->last);
  }
}

TEST(RatioAt, GoesNoFurtherThanWhatWasMeasured) {
  EXPECT_FALSE(ratio_at(square_law(), 0.0039));
  const auto beyond = ratio_at(square_law(), 1);
  ASSERT_TRUE(beyond);
  EXPECT_EQ(beyond->ratio, 10);
  EXPECT_TRUE(beyond->last);
  EXPECT_FALSE(ratio_at({}, 1));
}

TEST(RatioAt, TakesTheLargestRatioOfACurveThatTurnsBack) {
  // Below .02 at the first point and again from the third on.
  const auto found = ratio_at({{2, 0.01}, {4, 0.04}, {8, 0.01}, {16, 0.04}}, 0.02);
  ASSERT_TRUE(found);
  EXPECT_NEAR(found->ratio, 8 * std::sqrt(2), 1e-9);
}

TEST(RatioAt, ADivergenceOfZeroIsAPointLikeAnyOther) {
  const auto found = ratio_at({{1, 0}, {16, 0.1}}, 0.01);
  ASSERT_TRUE(found);
  EXPECT_GT(found->ratio, 1);
  EXPECT_LT(found->ratio, 16);
}

TEST(PaidBackAt, IsWhereFileAndRowsAreAsLargeAsTheOther) {
  const auto tokens = paid_back_at(1e6, 2000, 23000);
  ASSERT_TRUE(tokens);
  EXPECT_LE(1e6 + 2000 * *tokens, 23000 * *tokens);
  EXPECT_GT(1e6 + 2000 * (*tokens - 1), 23000 * (*tokens - 1));
  EXPECT_FALSE(paid_back_at(1e6, 2000, 2000));
  EXPECT_EQ(paid_back_at(0, 1, 2), 0);
}

TEST(RatioOfLength, CountsExactRowsAsTheyAre) {
  EXPECT_DOUBLE_EQ(ratio_of_length(1000, 0, 10, 160), 16);
  EXPECT_DOUBLE_EQ(ratio_of_length(1000, 100, 10, 160), 160000. / (16000 + 9000));
  EXPECT_DOUBLE_EQ(ratio_of_length(100, 200, 10, 160), 1);  // all of it is in the window
  EXPECT_NEAR(ratio_of_length(1e9, 100, 10, 160), 16, 1e-4);
}

}  // namespace
}  // namespace kvsplice::quality
