#include "report/axis.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <set>

#include "core/random.h"

namespace kvsplice::report {
namespace {

std::vector<std::string> labels(const Axis& axis) {
  std::vector<std::string> out;
  for (const auto& t : axis.ticks) out.push_back(t.label);
  return out;
}

using Labels = std::vector<std::string>;

TEST(Axis, LinearTicksAreRound) {
  EXPECT_EQ(labels(make_axis({0, 1}, false, true, 6)),
            (Labels{"0", "0.2", "0.4", "0.6", "0.8", "1.0"}));
  EXPECT_EQ(labels(make_axis({-3, 3}, false, false, 3)), (Labels{"-2.5", "0", "2.5"}));
  EXPECT_EQ(labels(make_axis({0, 2e6}, false, true, 4)), (Labels{"0", "1M", "2M"}));
  EXPECT_EQ(labels(make_axis({0, 3e4}, false, true, 4)), (Labels{"0", "10k", "20k", "30k"}));
  EXPECT_EQ(labels(make_axis({0, 5e-5}, false, true, 6)),
            (Labels{"0", "1×10⁻⁵", "2×10⁻⁵", "3×10⁻⁵", "4×10⁻⁵", "5×10⁻⁵"}));
}

TEST(Axis, UnitsDoNotNeedManyDigits) {
  EXPECT_EQ(labels(make_axis({1000010, 1000050}, false, false, 5)),
            (Labels{"1000010", "1000020", "1000030", "1000040", "1000050"}));
  EXPECT_EQ(tick_label(2.5e6, 2.5e5, 4e6), "2.50M");
}

TEST(Axis, LogTicksAreDecadesOrPowersOfTwo) {
  EXPECT_EQ(labels(make_axis({0.005, 1.3}, true, false, 6)),
            (Labels{"0.01", "0.03", "0.1", "0.3", "1"}));
  EXPECT_EQ(labels(make_axis({1e-6, 1}, true, false, 4)), (Labels{"10⁻⁶", "10⁻⁴", "10⁻²", "10⁰"}));
  EXPECT_EQ(labels(make_axis({512, 1024, 2048, 4096}, true, false, 6)),
            (Labels{"512", "1024", "2048", "4096"}));
  EXPECT_EQ(labels(make_axis({1.5, 7.5}, true, false, 6)), (Labels{"1.5", "2", "3", "5", "7"}));
  EXPECT_EQ(labels(make_axis({7.1, 7.3}, true, false, 6)),
            (Labels{"7.0", "7.1", "7.2", "7.3", "7.4"}));
}

TEST(Axis, SkipsWhatItCannotShow) {
  EXPECT_TRUE(make_axis({}, false, false, 5).empty);
  EXPECT_TRUE(make_axis({NAN, INFINITY, -INFINITY}, false, false, 5).empty);
  EXPECT_TRUE(make_axis({0, -1}, true, false, 5).empty);
  const Axis axis = make_axis({NAN, 1, 2, INFINITY}, false, false, 5);
  EXPECT_GT(axis.low, 0.5);
  EXPECT_LT(axis.high, 2.5);
}

TEST(Axis, FractionsFollowTheScale) {
  const Axis log = make_axis({1, 100}, true, false, 5);
  EXPECT_NEAR(log.fraction(10), 0.5, 1e-12);
  const Axis linear = make_axis({0, 10}, false, false, 5);
  EXPECT_NEAR(linear.fraction(5), 0.5, 1e-12);
}

// Any data: the range holds them with little waste, and ticks are inside, rising, few and distinct.
TEST(Axis, HoldsForAnyValues) {
  Random random(3);
  for (int round = 0; round < 3000; ++round) {
    const bool log = round % 2 == 0, zero = round % 3 == 0 && !log;
    const double scale = std::pow(10, random.uniform(-200, 200)), spread = random.uniform(0, 6);
    std::vector<double> values;
    for (int i = 0; i < 1 + round % 5; ++i) {
      values.push_back(scale * std::pow(10, spread * random.uniform()) *
                       (log || random.uniform() < 0.8 ? 1 : -1));
    }
    const int most = 3 + round % 5;
    const Axis axis = make_axis(values, log, zero, most);
    ASSERT_FALSE(axis.empty);
    std::set<std::string> seen;
    double before = -INFINITY;
    for (const auto& tick : axis.ticks) {
      EXPECT_GT(tick.value, before);
      before = tick.value;
      seen.insert(tick.label);
      EXPECT_GE(axis.fraction(tick.value), -1e-6);
      EXPECT_LE(axis.fraction(tick.value), 1 + 1e-6);
    }
    EXPECT_EQ(seen.size(), axis.ticks.size());
    EXPECT_GE(axis.ticks.size(), 1u) << values[0];
    EXPECT_LE(axis.ticks.size(), size_t(most) + 1);
    const auto [low, high] = std::minmax_element(values.begin(), values.end());
    EXPECT_LE(axis.low, *low);
    EXPECT_GE(axis.high, *high);
    if (*high > *low * 1.5 && !zero && *low > 0) {
      EXPECT_LT(axis.fraction(*low), 0.1);
      EXPECT_GT(axis.fraction(*high), 0.9);
    }
  }
}

}  // namespace
}  // namespace kvsplice::report
