#include "quality/score.h"

#include <gtest/gtest.h>

#include <cmath>

namespace kvsplice::quality {
namespace {

std::vector<float> logs(std::vector<double> p) {
  std::vector<float> out;
  for (double x : p) out.push_back(static_cast<float>(std::log(x)));
  return out;
}

TEST(LogProbs, SumToOneAndNameTheLargest) {
  const std::vector<float> logits = {1, 3, -2, 0.5f};
  const LogProbs out(logits);
  EXPECT_EQ(out.best(), 1u);
  double sum = 0;
  for (size_t i = 0; i < 4; ++i) sum += std::exp(double(out[i]));
  EXPECT_NEAR(sum, 1, 1e-6);
  EXPECT_NEAR(out[1] - out[0], 2, 1e-6);
}

TEST(LogProbs, HugeLogitsDoNotOverflow) {
  const std::vector<float> logits = {1e4f, 1e4f - 1, -1e30f};
  EXPECT_NEAR(LogProbs(logits)[0], -std::log1p(std::exp(-1.0)), 1e-3);
}

TEST(Perplexity, OfAUniformModelIsTheNumberOfChoices) {
  Perplexity p;
  for (int i = 0; i < 10; ++i) p.add(std::log(50.0));
  EXPECT_NEAR(p.value(), 50, 1e-9);
  EXPECT_NEAR(p.error(), 0, 1e-4);
}

TEST(Perplexity, ErrorIsTheStandardErrorOfTheMeanTimesTheValue) {
  Perplexity p;
  const std::vector<double> nll = {1, 2, 4, 5};
  for (double x : nll) p.add(x);
  // mean 3, population variance 2.5
  EXPECT_NEAR(p.value(), std::exp(3.0), 1e-9);
  EXPECT_NEAR(p.error(), std::exp(3.0) * std::sqrt(2.5 / 3), 1e-9);
}

TEST(Divergence, ClosedForm) {
  Divergence d;
  const auto p = logs({0.5, 0.5}), q = logs({0.25, 0.75});
  d.add(LogProbs(p), LogProbs(q), 0);
  const double kld = 0.5 * std::log(2.0) + 0.5 * std::log(0.5 / 0.75);
  const auto s = d.summary();
  EXPECT_NEAR(s.mean, kld, 1e-6);
  EXPECT_NEAR(s.median, kld, 1e-6);
  EXPECT_NEAR(s.rms_dp_percent, 25, 1e-4);
  EXPECT_EQ(s.top1_percent, 0);  // the base's first of two equals is 0, the other run's is 1
}

TEST(Divergence, OfARunFromItselfIsZero) {
  Divergence d;
  const auto p = logs({0.1, 0.2, 0.7});
  for (int i = 0; i < 5; ++i) d.add(LogProbs(p), LogProbs(p), 2);
  const auto s = d.summary();
  EXPECT_EQ(s.mean, 0);
  EXPECT_EQ(s.p99, 0);
  EXPECT_EQ(s.top1_percent, 100);
}

TEST(Divergence, PercentilesAreOfTheSortedValues) {
  Divergence d;
  for (int i = 99; i >= 0; --i) d.add({double(i), 0, i % 4 == 0});
  const auto s = d.summary();
  EXPECT_EQ(s.median, 50);
  EXPECT_EQ(s.p99, 99);
  EXPECT_NEAR(s.mean, 49.5, 1e-9);
  EXPECT_EQ(s.top1_percent, 25);
}

}  // namespace
}  // namespace kvsplice::quality
