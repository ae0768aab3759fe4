#include "analyse/sequence.h"

#include <gtest/gtest.h>

#include "analyse/testing.h"

namespace kvsplice::analyse {
namespace {

using namespace testing;

TEST(SampledDimensions, AtMostSixteenEvenly) {
  EXPECT_EQ(sampled_dimensions(4), (std::vector<size_t>{0, 1, 2, 3}));
  const auto dims = sampled_dimensions(64);
  ASSERT_EQ(dims.size(), 16);
  EXPECT_EQ(dims[1], 4);
  EXPECT_EQ(dims[15], 60);
  EXPECT_EQ(sampled_dimensions(40).size(), 16);
  EXPECT_TRUE(sampled_dimensions(0).empty());
}

TEST(Autocorrelation, OfWhiteNoiseIsZeroBeyondLagZero) {
  const auto r = autocorrelation(white(4000, 16, 1), 50);
  ASSERT_EQ(r.size(), 51);
  EXPECT_NEAR(r[0], 1, 1e-12);
  for (size_t lag = 1; lag <= 50; ++lag) EXPECT_NEAR(r[lag], 0, 5 / std::sqrt(4000.0 * 16)) << lag;
}

TEST(Autocorrelation, OfAr1DecaysByRho) {
  const auto r = autocorrelation(ar1(20000, 16, 0.8, 2), 5);
  for (int lag = 1; lag <= 5; ++lag) EXPECT_NEAR(r[lag], std::pow(0.8, lag), 0.01) << lag;
}

TEST(Autocorrelation, OfAToneIsItsCosineTimesTheOverlap) {
  const size_t n = 400;
  const auto r = autocorrelation(tone(n, 3, 20), 50);
  for (size_t lag : {10, 20, 40}) {  // half a period, one and two
    const double angle = 2 * std::numbers::pi * 20 * double(lag) / double(n);
    EXPECT_NEAR(r[lag], std::cos(angle) * double(n - lag) / double(n), 1e-6) << lag;
  }
}

TEST(Autocorrelation, ConstantDimensionsCountAsZeroAndOffsetsDoNotMatter) {
  Matrix<float> x = tone(100, 2, 4);
  for (size_t t = 0; t < 100; ++t) x(t, 1) = 7;
  const auto half = autocorrelation(x, 3);
  EXPECT_NEAR(half[0], 0.5, 1e-12);
  const auto plain = autocorrelation(tone(100, 1, 4), 3);
  EXPECT_NEAR(half[3], 0.5 * plain[3], 1e-7);
  for (size_t t = 0; t < 100; ++t) x(t, 0) += 3;
  EXPECT_NEAR(autocorrelation(x, 3)[3], half[3], 1e-6);
}

TEST(Autocorrelation, LagsBeyondTheRowsAreZero) {
  const auto r = autocorrelation(white(5, 4, 3), 10);
  EXPECT_NE(r[4], 0);
  for (size_t lag = 5; lag <= 10; ++lag) EXPECT_EQ(r[lag], 0);
  EXPECT_EQ(autocorrelation(Matrix<float>(0, 4), 2), std::vector<double>(3));
}

TEST(LowFrequencyEnergy, OfWhiteNoiseIsTheShareOfBins) {
  // Removing the mean costs part of the lowest bins, hence slightly less than the share.
  const auto share = low_frequency_energy(white(2048, 16, 4), functions::Dft(2048));
  for (size_t b = 0; b < share.size(); ++b) EXPECT_NEAR(share[b], kLowBands[b], 0.012) << b;
}

TEST(LowFrequencyEnergy, SeparatesTones) {
  const functions::Dft dft(1000);
  for (double low : low_frequency_energy(tone(1000, 2, 10), dft)) EXPECT_GT(low, 0.999999);
  const auto middle = low_frequency_energy(tone(1000, 2, 200), dft);  // bin 200 of 501
  EXPECT_LT(middle[2], 1e-6);
  EXPECT_GT(middle[3], 0.999999);
}

TEST(LowFrequencyEnergy, OfAr1MatchesItsSpectralDensity) {
  const double rho = 0.9;
  double low = 0, all = 0;
  for (int k = 0; k < 10000; ++k) {
    const double w = std::numbers::pi * (k + 0.5) / 10000;
    const double density = 1 / (1 - 2 * rho * std::cos(w) + rho * rho);
    all += density;
    if (k < 1000) low += density;
  }
  const auto share = low_frequency_energy(ar1(8191, 16, rho, 5), functions::Dft(8191));
  EXPECT_NEAR(share[1], low / all, 0.01);
}

TEST(LowFrequencyEnergy, OfAConstantIsOne) {
  for (double s : low_frequency_energy(tone(64, 2, 0), functions::Dft(64))) EXPECT_EQ(s, 1);
}

TEST(Ar1Gain, FiguresOfTheStudy) {
  EXPECT_NEAR(ar1_gain(0.496), 0.204, 0.001);
  EXPECT_NEAR(ar1_gain(0.242), 0.0436, 0.0005);
  EXPECT_EQ(ar1_gain(0), 0);
  EXPECT_EQ(ar1_gain(-0.5), ar1_gain(0.5));
}

}  // namespace
}  // namespace kvsplice::analyse
