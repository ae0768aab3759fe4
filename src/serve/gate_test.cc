#include "serve/gate.h"

#include <gtest/gtest.h>

namespace kvsplice::serve {
namespace {

TEST(GateTest, WhatIsNotKnownIsTried) {
  Gate gate;
  EXPECT_TRUE(gate.is_worth(1000, 0));
  gate.evaluated(1000, 1);
  EXPECT_TRUE(gate.is_worth(1000, 0));
}

TEST(GateTest, ComparesWithWhatIsLeftToEvaluate) {
  Gate gate;
  for (int i = 0; i < 10; ++i) {
    gate.evaluated(1000, 10);  // .01 s a token
    gate.restored(1000, 1);    // .001
  }
  EXPECT_TRUE(gate.is_worth(1000, 0));
  EXPECT_TRUE(gate.is_worth(1000, 800));
  EXPECT_FALSE(gate.is_worth(1000, 900)) << "1 s against 1 s";
  EXPECT_FALSE(gate.is_worth(1000, 1000));
}

TEST(GateTest, FollowsTheMachine) {
  Gate gate;
  gate.evaluated(1000, 1);
  gate.restored(1000, 10);
  EXPECT_FALSE(gate.is_worth(1000, 0));
  for (int i = 0; i < 60; ++i) gate.restored(1000, 0.1);
  EXPECT_TRUE(gate.is_worth(1000, 0));
  EXPECT_NEAR(gate.rates().evaluate, 1000, 1);
  EXPECT_NEAR(gate.rates().restore, 10000, 500);
}

TEST(GateTest, ARemoteHasAQuarterOfWhatItWouldSave) {
  Gate gate;
  EXPECT_EQ(gate.seconds_for_remote(1000, 0), 2) << "nothing is known yet";
  EXPECT_EQ(gate.seconds_for_remote(1000, 980), std::nullopt);
  gate.evaluated(1000, 8);
  EXPECT_DOUBLE_EQ(*gate.seconds_for_remote(1000, 500), 1);
  EXPECT_DOUBLE_EQ(*gate.seconds_for_remote(1000, 960), 0.3);
  EXPECT_DOUBLE_EQ(*gate.seconds_for_remote(100000, 0), 10);
  gate.restored(1000, 16);
  EXPECT_EQ(gate.seconds_for_remote(1000, 0), std::nullopt);
}

TEST(GateTest, AFewTokensAreNotWorthIt) {
  Gate gate;
  EXPECT_FALSE(gate.is_worth(31, 0));
  gate.evaluated(5, 100);  // tells nothing
  EXPECT_EQ(gate.rates().evaluate, 0);
}

}  // namespace
}  // namespace kvsplice::serve
