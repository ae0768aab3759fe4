#include "analyse/spectrum.h"

#include <gtest/gtest.h>

#include <cmath>
#include <vector>

namespace kvsplice::analyse {
namespace {

using Values = std::vector<double>;

TEST(RankProfile, CountsSingularValuesUpTo99Percent) {
  const RankProfile flat = rank_profile(Values(200, 3.0));
  EXPECT_EQ(flat.effective, 198);
  EXPECT_EQ(flat.full, 200);
  EXPECT_DOUBLE_EQ(flat.ratio, 0.99);
  EXPECT_DOUBLE_EQ(flat.top1, 0.005);
  EXPECT_DOUBLE_EQ(flat.top10, 0.05);

  Values three(64, 0.0);
  three[0] = 6, three[1] = 3, three[2] = 1;
  const RankProfile low = rank_profile(three);
  EXPECT_EQ(low.effective, 3);
  EXPECT_DOUBLE_EQ(low.top1, 0.6);
  EXPECT_DOUBLE_EQ(low.top10, 1);
  EXPECT_EQ(rank_profile(Values{5, 0.01}).effective, 1);
}

TEST(RankProfile, OfNothingOrZeros) {
  EXPECT_EQ(rank_profile({}).effective, 0);
  const RankProfile zeros = rank_profile(Values(4, 0.0));
  EXPECT_EQ(zeros.effective, 0);
  EXPECT_EQ(zeros.full, 4);
}

TEST(CodingGain, ClosedForms) {
  EXPECT_NEAR(coding_gain(Values(8, 5.0)), 0, 1e-15);
  EXPECT_NEAR(coding_gain(Values{16, 1}), 0.5 * std::log2(8.5 / 4), 1e-12);
  EXPECT_NEAR(coding_gain(Values{1600, 100}), coding_gain(Values{16, 1}), 1e-12);
  EXPECT_EQ(coding_gain(Values{0, 0}), 0);
  EXPECT_EQ(coding_gain({}), 0);
}

TEST(CodingGain, IsBoundedByTheFloor) {
  const double gain = coding_gain(Values{2, 0});
  EXPECT_NEAR(gain, 0.5 * 0.5 * (-1 - std::log2(kVarianceFloor)), 1e-12);
}

TEST(Rate, OfEqualVariancesIsHalfALogarithm) {
  EXPECT_NEAR(rate(Values(10, 4.0), 0.25), 2, 1e-12);
  EXPECT_EQ(rate(Values(10, 4.0), 4.0), 0);
  EXPECT_EQ(rate(Values(10, 4.0), 100.0), 0);
}

TEST(Rate, WaterStaysBelowLargeVariances) {
  // Level 0.5 everywhere: one active coordinate, the others give all they have.
  const Values variances = {0.1, 8.0, 0.3};
  const double distortion = (0.1 + 0.5 + 0.3) / 3;
  EXPECT_NEAR(rate(variances, distortion), 0.5 * std::log2(8.0 / 0.5) / 3, 1e-12);
  // High rate: everything is active and the coding gain is what is saved.
  const double high = rate(variances, 1e-4);
  const double mean = 8.4 / 3;
  EXPECT_NEAR(high, 0.5 * std::log2(mean / 1e-4) - coding_gain(variances), 1e-12);
}

TEST(Rate, MatchesABisectedWaterLevel) {
  Values variances;
  for (int i = 0; i < 97; ++i) variances.push_back(std::exp(-0.13 * (i * 31 % 97)));
  for (double distortion : {0.001, 0.01, 0.05, 0.07}) {
    double low = 0, high = 1;
    for (int step = 0; step < 200; ++step) {
      const double level = (low + high) / 2;
      double spent = 0;
      for (double v : variances) spent += std::min(v, level) / 97;
      (spent < distortion ? low : high) = level;
    }
    double bits = 0;
    for (double v : variances) bits += std::max(0.0, 0.5 * std::log2(v / low)) / 97;
    EXPECT_NEAR(rate(variances, distortion), bits, 1e-9) << distortion;
  }
}

TEST(ComponentsFor, CountsFromTheTop) {
  const Values v = {4, 3, 2, 1};
  EXPECT_EQ(components_for(v, 0.4), 1);
  EXPECT_EQ(components_for(v, 0.41), 2);
  EXPECT_EQ(components_for(v, 1), 4);
  EXPECT_EQ(components_for({}, 0.5), 0);
}

}  // namespace
}  // namespace kvsplice::analyse
