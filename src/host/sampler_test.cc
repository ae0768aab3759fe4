#include "host/sampler.h"

#include <gmock/gmock.h>

#include <cmath>
#include <map>

namespace kvsplice::host {
namespace {

SamplerOptions plain() {
  SamplerOptions o;
  o.top_k = 0;
  o.top_p = 1;
  o.min_p = 0;
  o.temperature = 1;
  return o;
}

std::map<Token, double> frequencies(const SamplerOptions& o, std::span<const float> logits,
                                    std::span<const Token> recent = {}) {
  constexpr int kDraws = 20000;
  Sampler sampler(o);
  std::map<Token, double> seen;
  for (int i = 0; i < kDraws; ++i) seen[*sampler.sample(logits, recent)] += 1.0 / kDraws;
  return seen;
}

const std::vector<float> kLogits = {std::log(1.f), std::log(4.f), std::log(2.f), std::log(3.f)};

TEST(Sampler, DrawsTheSoftmax) {
  auto seen = frequencies(plain(), kLogits);
  for (Token t = 0; t < 4; ++t) EXPECT_NEAR(seen[t], std::exp(kLogits[t]) / 10, 0.02) << t;
}

TEST(Sampler, TemperatureSharpensAndZeroIsGreedy) {
  SamplerOptions o = plain();
  o.temperature = 0.5;  // squares the probabilities: 1 16 4 9 of 30
  auto seen = frequencies(o, kLogits);
  EXPECT_NEAR(seen[1], 16.0 / 30, 0.02);
  o.temperature = 0;
  seen = frequencies(o, kLogits);
  EXPECT_EQ(seen.size(), 1u);
  EXPECT_EQ(seen.begin()->first, 1);
}

TEST(Sampler, EachFilterKeepsWhatItSays) {
  SamplerOptions o = plain();
  o.top_k = 2;
  EXPECT_EQ(frequencies(o, kLogits).size(), 2u);
  o = plain();
  o.top_p = 0.65;  // 0.4 and 0.3
  EXPECT_EQ(frequencies(o, kLogits).size(), 2u);
  o = plain();
  o.min_p = 0.6;  // of 0.4: only 0.4 and 0.3 reach 0.24
  EXPECT_EQ(frequencies(o, kLogits).size(), 2u);
}

TEST(Sampler, PenaltyLowersRecentTokensOnly) {
  SamplerOptions o = plain();
  o.repeat_penalty = 2;
  o.repeat_last = 1;
  const std::vector<Token> recent = {3, 1};  // 3 is too long ago
  auto seen = frequencies(o, kLogits, recent);
  EXPECT_NEAR(seen[1], 2.0 / 8, 0.02);  // log 4 / 2 = log 2
  EXPECT_NEAR(seen[3], 3.0 / 8, 0.02);
}

TEST(Sampler, SameSeedSameTokensAndBadOptionsAreNamed) {
  SamplerOptions o = plain();
  o.seed = 5;
  EXPECT_EQ(frequencies(o, kLogits), frequencies(o, kLogits));
  o.temperature = NAN;
  EXPECT_THAT(check(o).error().message, testing::HasSubstr("temperature"));
  o = plain();
  o.top_p = 1.5;
  EXPECT_FALSE(check(o).ok());
  EXPECT_TRUE(check(SamplerOptions{}).ok());
}

TEST(Sampler, TheLikeliestIsAlwaysKept) {
  SamplerOptions o = plain();
  o.top_p = 0;
  EXPECT_EQ(frequencies(o, kLogits).size(), 1u);
  o.top_p = o.min_p = 1;
  EXPECT_EQ(frequencies(o, kLogits).size(), 1u);
}

TEST(Sampler, WhatIsNoNumberIsAnErrorAndNoChoice) {
  constexpr float infinity = std::numeric_limits<float>::infinity();
  for (double temperature : {0.0, 0.8}) {
    SamplerOptions o = plain();
    o.temperature = temperature;
    Sampler sampler(o);
    for (const std::vector<float>& bad :
         {std::vector<float>{1, NAN, 2}, {NAN, NAN}, {1, infinity}, {-infinity, -infinity}, {}}) {
      const auto token = sampler.sample(bad, {});
      ASSERT_FALSE(token.ok());
      EXPECT_EQ(token.error().kind, ErrorKind::numeric);
      EXPECT_THAT(token.error().message, testing::HasSubstr("logits are not numbers"));
    }
    const std::vector<float> masked = {-infinity, 1, -infinity};
    const std::vector<Token> foreign = {-1, 3, 1000000};
    EXPECT_EQ(*sampler.sample(masked, foreign), 1);
  }
}

}  // namespace
}  // namespace kvsplice::host
