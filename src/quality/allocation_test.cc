#include "quality/allocation.h"

#include <gmock/gmock.h>

#include <cmath>

namespace kvsplice::quality {
namespace {

Share share(double kld, double bytes) { return {Kind::value, 0, 1, kld, bytes}; }

TEST(Allocation, LeavesWhatIsEvenAsItIs) {
  std::vector<Share> shares = {share(0.002, 10), share(0.004, 20), share(0.001, 5)};
  weigh(shares);
  for (const Share& s : shares) EXPECT_NEAR(s.scale, 1, 1e-12);
}

// Where divergence is c step^1.6 and bytes are R step^-.9, one round makes c / R the same
// everywhere, and no other steps with as many bytes diverge less.
TEST(Allocation, IsBestForPowerLaws) {
  std::vector<Share> shares = {share(0.004, 10), share(0.001, 12), share(0.002, 30)};
  weigh(shares);
  const auto kld = [](const Share& s, double scale) { return s.kld * std::pow(scale, 1.6); };
  const auto bytes = [](const Share& s, double scale) { return s.bytes * std::pow(scale, -0.9); };
  const double even = kld(shares[0], shares[0].scale) / bytes(shares[0], shares[0].scale);
  double best = 0, all = 0;
  for (const Share& s : shares) {
    EXPECT_NEAR(kld(s, s.scale) / bytes(s, s.scale), even, 1e-9);
    best += kld(s, s.scale);
    all += bytes(s, s.scale);
  }
  for (const double turn : {0.8, 1.25}) {  // one share's step changed, the others make up for it
    for (size_t changed = 0; changed < shares.size(); ++changed) {
      double fixed = 0, free = 0, diverges = 0;
      for (size_t i = 0; i < shares.size(); ++i) {
        const double scale = shares[i].scale * (i == changed ? turn : 1);
        (i == changed ? fixed : free) += bytes(shares[i], scale);
      }
      const double others = std::pow((all - fixed) / free, -1 / 0.9);
      for (size_t i = 0; i < shares.size(); ++i) {
        diverges += kld(shares[i], shares[i].scale * (i == changed ? turn : others));
      }
      EXPECT_GT(diverges, best);
    }
  }
}

TEST(Allocation, IsNotLedAstrayByNoise) {
  std::vector<Share> shares = {share(-0.0001, 10), share(0, 10), share(0.003, 10)};
  weigh(shares);
  for (const Share& s : shares) {
    EXPECT_GE(s.scale, 0.4);
    EXPECT_LE(s.scale, 2.5);
  }
  EXPECT_GT(shares[0].scale, shares[2].scale);
  std::vector<Share> nothing = {share(-0.0001, 10), share(0, 10)};
  weigh(nothing);
  for (const Share& s : nothing) EXPECT_EQ(s.scale, 1);
}

}  // namespace
}  // namespace kvsplice::quality
