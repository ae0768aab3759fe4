#include "analyse/findings.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace kvsplice::analyse {
namespace {

using host::Signal;
using ::testing::Contains;
using ::testing::HasSubstr;
using ::testing::Not;

SignalAnalysis signal_of(Signal signal, std::array<double, 4> bits) {
  SignalAnalysis s;
  s.signal = signal;
  s.coordinate.bits[1] = bits[0];
  s.head.bits[1] = bits[1];
  s.layer.bits[1] = bits[2];
  s.model.bits[1] = bits[3];
  s.joint = true;
  s.fit_rows = 5000;
  s.layer_width = 128;
  s.joint_rows = 2000;
  s.joint_fit_rows = 1000;
  s.joint_width = 500;
  return s;
}

Analysis plain() {
  Analysis a;
  a.tokens = 10000;
  a.signals = {signal_of(Signal::key, {2, 2, 2, 2}),
               signal_of(Signal::key_before_rope, {1, 1, 1, 1}),
               signal_of(Signal::value, {2, 1.8, 1.5, 1.48})};
  return a;
}

TEST(Label, Thresholds) {
  EXPECT_STREQ(label(0.51), "GOOD");
  EXPECT_STREQ(label(0.5), "CONCERNING");
  EXPECT_STREQ(label(0.2), "BAD");
  EXPECT_STREQ(label(-1), "BAD");
}

TEST(Verdict, OfTheStudy) {
  EXPECT_STREQ(verdict(0.6, 0.6), "PROMISING");
  EXPECT_STREQ(verdict(0.496, 0.444), "MIXED");  // the published Llama-3.1-8B
  EXPECT_STREQ(verdict(0.1, 0.31), "MIXED");
  EXPECT_STREQ(verdict(0.21, 0.1), "MIXED");
  EXPECT_STREQ(verdict(0.2, 0.3), "CHALLENGING");
}

TEST(Suggestions, ChooseTheNarrowestScopeThatPays) {
  const auto list = suggestions(plain());
  EXPECT_THAT(list,
              Contains(HasSubstr("Values: join the heads of a layer. Bits per value at 5 % "
                                 "error energy: 2.00 without a transform, 1.80 with a KLT per "
                                 "head, 1.50 with one over all heads of a layer, 1.48 with")));
  EXPECT_THAT(list, Contains(HasSubstr("Keys before RoPE: a transform is not worth its cost")));
}

TEST(Suggestions, CompareKeysBeforeAndAfterRotation) {
  Analysis a = plain();
  EXPECT_THAT(suggestions(a), Contains(HasSubstr("Compress keys before RoPE: 1.00 bits")));
  a.signals[1] = signal_of(Signal::key_before_rope, {3, 3, 3, 3});
  EXPECT_THAT(suggestions(a), Contains(HasSubstr("Compress keys after RoPE: 3.00 bits")));
  a.signals.erase(a.signals.begin() + 1);
  EXPECT_THAT(suggestions(a), Not(Contains(HasSubstr("after it"))));
}

TEST(Suggestions, JudgePositionCodesByTheirCeiling) {
  Analysis a = plain();
  a.signals[0].lag1 = 0.496;
  EXPECT_THAT(suggestions(a), Contains(HasSubstr("Keys by position: position codes cannot work. A "
                                                 "lag-1 autocorrelation of 0.496 is worth 0.20")));
  a.signals[0].lag1 = 0.99;
  EXPECT_THAT(suggestions(a), Contains(HasSubstr("worth trying")));
}

TEST(Suggestions, MeanTailsAndRank) {
  Analysis a = plain();
  a.signals[1].mean_share = 0.81;
  a.signals[1].kurtosis = 4;
  a.signals[2].mean_share = 0.01;
  a.signals[2].rank_ratio = 0.9;
  const auto list = suggestions(a);
  EXPECT_THAT(list, Contains(HasSubstr("keys before RoPE carries 81 %")));
  EXPECT_THAT(list, Contains(HasSubstr("cosine of about 0.90")));
  EXPECT_THAT(list, Contains(HasSubstr("values carries 1 % of their energy: removing it hardly")));
  EXPECT_THAT(list, Contains(HasSubstr("Heavy tails of keys before RoPE")));
  EXPECT_THAT(list, Contains(HasSubstr("Near-normal coordinates of values")));
  EXPECT_THAT(list, Contains(HasSubstr("90 % of the dimensions hold 99 % of the singular values of "
                                       "values: quantise")));
}

TEST(Suggestions, WarnOfTooFewRows) {
  Analysis a = plain();
  EXPECT_THAT(suggestions(a), Not(Contains(HasSubstr("Only"))));
  a.signals[0].fit_rows = 200;
  EXPECT_THAT(suggestions(a), Contains(HasSubstr("Only 200 rows to learn a basis for the 128")));
  a.signals[2].joint_width = 5760;
  EXPECT_THAT(suggestions(a), Contains(HasSubstr("learnt from 1000 rows of 5760 values")));
}

TEST(Suggestions, OfNothingAreNone) { EXPECT_TRUE(suggestions(Analysis{}).empty()); }

}  // namespace
}  // namespace kvsplice::analyse
