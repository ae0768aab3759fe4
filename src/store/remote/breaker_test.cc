#include "store/remote/breaker.h"

#include <gtest/gtest.h>

#include "store/remote/clock_test.h"

namespace kvsplice::store {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using State = Breaker::State;

class BreakerTest : public testing::Test {
 protected:
  void open() {
    for (int i = 0; i < 3; ++i) breaker_.failed();
  }
  // The breaker stays open for exactly so long.
  void expect_open_for(seconds time) {
    EXPECT_EQ(breaker_.until_next(), time);
    clock_.pass(time - milliseconds(1));
    EXPECT_FALSE(breaker_.allows());
    EXPECT_EQ(breaker_.state(), State::open);
    clock_.pass(milliseconds(1));
  }

  TestClock clock_;
  Breaker breaker_{clock_.source()};
};

TEST_F(BreakerTest, OpensAtThreeFailuresInARow) {
  for (int i = 0; i < 10; ++i) {
    breaker_.failed();
    breaker_.failed();
    EXPECT_TRUE(breaker_.allows());
    breaker_.succeeded();
  }
  breaker_.failed();
  breaker_.failed();
  EXPECT_EQ(breaker_.state(), State::closed);
  breaker_.failed();
  EXPECT_EQ(breaker_.state(), State::open);
  EXPECT_FALSE(breaker_.allows());
}

TEST_F(BreakerTest, LetsOneTryAndClosesIfThatSucceeds) {
  open();
  expect_open_for(seconds(10));
  EXPECT_TRUE(breaker_.allows());
  EXPECT_EQ(breaker_.state(), State::half_open);
  EXPECT_FALSE(breaker_.allows()) << "one at a time";
  breaker_.succeeded();
  EXPECT_EQ(breaker_.state(), State::closed);
  EXPECT_EQ(breaker_.until_next(), seconds(0));
  EXPECT_TRUE(breaker_.allows() && breaker_.allows());
  open();
  expect_open_for(seconds(10));  // it begins anew
}

TEST_F(BreakerTest, DoublesUpToFiveMinutes) {
  open();
  for (const int time : {10, 20, 40, 80, 160, 300, 300}) {
    expect_open_for(seconds(time));
    ASSERT_TRUE(breaker_.allows());
    breaker_.failed();
  }
}

TEST_F(BreakerTest, CallsThatBeganBeforeItOpenedDoNotProlongIt) {
  open();
  clock_.pass(seconds(5));
  breaker_.failed();
  EXPECT_EQ(breaker_.until_next(), seconds(5));
}

TEST_F(BreakerTest, WhoTriesAndIsNotHeardOfAgainDoesNotBlockOthers) {
  open();
  clock_.pass(seconds(10));
  EXPECT_TRUE(breaker_.allows());
  EXPECT_FALSE(breaker_.allows());
  clock_.pass(seconds(10));
  EXPECT_TRUE(breaker_.allows());
}

}  // namespace
}  // namespace kvsplice::store
