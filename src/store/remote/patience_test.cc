#include "store/remote/patience.h"

#include <gtest/gtest.h>

#include "store/remote/clock_test.h"

namespace kvsplice::store {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

TEST(Patience, EndsAtItsTime) {
  TestClock clock;
  Patience patience(clock.now() + milliseconds(120), milliseconds(200), clock.source());
  EXPECT_EQ(patience.left(), milliseconds(50)) << "a moment";
  clock.pass(milliseconds(119));
  EXPECT_GT(patience.left(), milliseconds(0));
  clock.pass(milliseconds(1));
  EXPECT_TRUE(patience.has_ended());
}

TEST(Patience, EndsWhenNothingComes) {
  TestClock clock;
  Patience patience(clock.now() + seconds(10), milliseconds(200), clock.source());
  for (int i = 0; i < 10; ++i) {
    clock.pass(milliseconds(199));
    EXPECT_FALSE(patience.has_ended()) << i;
    patience.got(1);
  }
  clock.pass(milliseconds(200));
  EXPECT_TRUE(patience.has_ended());
}

TEST(Patience, EndsEarlyWhenWhatComesWouldBeLate) {
  for (const bool fast : {true, false}) {
    TestClock clock;
    Patience patience(clock.now() + seconds(10), milliseconds(200), clock.source());
    patience.expect(1000);
    for (int i = 0; i < 2; ++i) {
      clock.pass(milliseconds(100));
      patience.got(fast ? 10 : 9);  // a hundredth of the time has passed each time
    }
    EXPECT_EQ(patience.has_ended(), !fast);
  }
}

TEST(Patience, DoesNotCountTheTimeOfWhoeverAsks) {
  TestClock clock;
  Patience patience(clock.now() + seconds(10), milliseconds(200), clock.source());
  patience.expect(1000);
  clock.pass(milliseconds(100));
  patience.got(20);
  clock.pass(seconds(5));
  EXPECT_TRUE(patience.has_ended());
  patience.resume();
  EXPECT_FALSE(patience.has_ended());
  clock.pass(seconds(5));
  patience.resume();
  EXPECT_TRUE(patience.has_ended()) << "the end stays where it is";
}

}  // namespace
}  // namespace kvsplice::store
