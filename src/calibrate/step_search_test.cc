#include "calibrate/step_search.h"

#include <gtest/gtest.h>

namespace kvsplice::calibrate {
namespace {

// How many values it takes to meet a target.
template <class F>
int tries(StepSearch search, F&& value_at) {
  for (int i = 1; i <= 20; ++i) {
    const double value = value_at(search.factor());
    if (search.met(value)) return i;
    search.learn(value);
  }
  return 21;
}

TEST(StepSearchTest, ThreeTriesMeetAPower) {
  for (double power : {0.4, 0.7, 1.0, 1.7, 2.2}) {
    for (double target : {0.2, 0.7, 1.6, 5.0}) {
      const auto value = [&](double factor) { return std::pow(factor, power); };
      EXPECT_LE(tries(StepSearch(target, 0.7), value), 3) << power << " " << target;
    }
  }
}

// Ratios over steps bend: few bits at wide steps, one more bit for each half of a narrow one.
TEST(StepSearchTest, FewTriesMeetARatio) {
  const auto ratio = [](double factor) { return 16 / std::log2(1 + 0.5 / factor); };
  for (double target : {8.0, 12.0, 16.0, 24.0, 36.0, 60.0}) {
    EXPECT_LE(tries(StepSearch(target, 0.7), ratio), 4) << target;
  }
}

TEST(StepSearchTest, StaysBetweenWhatIsKnown) {
  StepSearch search(1, 0.01);  // a slope that overshoots far
  search.learn(0.5);
  const double high = search.factor();
  EXPECT_GT(high, 1);
  search.learn(2);
  EXPECT_GT(search.factor(), 1);
  EXPECT_LT(search.factor(), high);
}

TEST(StepSearchTest, AgainBeginsWhereItStands) {
  const auto value = [](double factor) { return 3 * std::pow(factor, 1.2); };
  StepSearch search(6, 0.7);
  while (!search.met(value(search.factor()))) search.learn(value(search.factor()));
  // The other function lies a tenth higher everywhere.
  const auto other = [&](double factor) { return 1.1 * value(factor); };
  EXPECT_EQ(search.again().factor(), search.factor());
  EXPECT_LE(tries(search.again(), other), 2);
}

TEST(StepSearchTest, GivesUpAtTheEndsOfItsRange) {
  StepSearch search(1e6, 0.7);
  for (int i = 0; i < 5; ++i) search.learn(1);
  EXPECT_LT(search.factor(), 65);
}

}  // namespace
}  // namespace kvsplice::calibrate
