#include "analyse/scope.h"

#include <gtest/gtest.h>

#include <numeric>

#include "analyse/spectrum.h"
#include "analyse/testing.h"

namespace kvsplice::analyse {
namespace {

using namespace testing;

const std::vector<double> kVariances = {32, 16, 8, 4, 2, 1, 0.5, 0.25};

Halves halves_of(MatrixView<const float> x) {
  const size_t half = x.rows / 2;
  return {Moments(x.row_range(0, half)), Moments(x.row_range(half, x.rows - half))};
}

double sum(const std::vector<double>& x) { return std::accumulate(x.begin(), x.end(), 0.0); }

TEST(Klt, FindsTheVariancesThatWereMixed) {
  const auto x = mixed(40000, kVariances, 1);
  const auto found = klt_variances(halves_of(x));
  ASSERT_TRUE(found.ok());
  for (size_t i = 0; i < kVariances.size(); ++i) {
    EXPECT_NEAR((*found)[i] / kVariances[i], 1, 0.05) << i;
  }
  EXPECT_NEAR(coding_gain(*found), coding_gain(kVariances), 0.01);
}

TEST(Klt, CoordinatesHideWhatTheTransformFinds) {
  const auto x = mixed(40000, kVariances, 2);
  const auto plain = coordinate_variances(halves_of(x));
  const auto turned = klt_variances(halves_of(x));
  ASSERT_TRUE(turned.ok());
  EXPECT_NEAR(sum(plain), sum(*turned), 1e-6 * sum(plain));
  EXPECT_LT(coding_gain(plain), coding_gain(*turned) - 0.5);
}

TEST(Klt, CountsAShiftedMeanAsVariance) {
  Matrix<float> x = white(4000, 2, 3);
  for (size_t r = 2000; r < 4000; ++r) x(r, 0) += 3;  // only the test half
  EXPECT_NEAR(coordinate_variances(halves_of(x))[0], 10, 0.5);
  EXPECT_NEAR(sum(*klt_variances(halves_of(x))), 11, 0.6);
}

TEST(Klt, TooFewRowsGainNothing) {
  // White noise has nothing to find. In sample 40 rows of 64 columns span 39 dimensions and seem to
  // gain bits; held out they must not.
  const auto x = white(80, 64, 4);
  const auto found = klt_variances(halves_of(x));
  ASSERT_TRUE(found.ok());
  const double distortion = 0.05;
  EXPECT_NEAR(rates(*found, 64).bits[1], 0.5 * std::log2(1 / distortion), 0.15);
}

TEST(Rates, OfWhiteRowsFollowTheDistortion) {
  const Rates r = rates(std::vector<double>(10, 2.0), 20);
  EXPECT_NEAR(r.gain, 0, 1e-12);
  for (size_t i = 0; i < 3; ++i) {
    EXPECT_NEAR(r.bits[i], -0.5 * std::log2(kDistortions[i]), 1e-12);
  }
  // Energy of the mean counts: half of it is mean, so the same share is twice the distortion.
  EXPECT_NEAR(rates(std::vector<double>(10, 2.0), 40).bits[0], 0.5 * std::log2(50), 1e-12);
  EXPECT_EQ(rates({}, 1).bits[0], 0);
  EXPECT_EQ(rates(std::vector<double>(3, 0.0), 0).bits[0], 0);
}

TEST(PrincipalShares, AreTheNormalisedSpectrum) {
  const auto shares = principal_shares(Moments(mixed(40000, kVariances, 5)));
  ASSERT_TRUE(shares.ok());
  EXPECT_NEAR(sum(*shares), 1, 1e-12);
  for (size_t i = 0; i < kVariances.size(); ++i) {
    EXPECT_NEAR((*shares)[i], kVariances[i] / sum(kVariances), 0.01) << i;
  }
}

// The layers side by side, each divided by its rms: what JointRows must agree with.
Matrix<float> side_by_side(const std::vector<Matrix<float>>& layers) {
  Matrix<float> joined(layers[0].rows(), layers.size() * layers[0].cols());
  for (size_t l = 0; l < layers.size(); ++l) {
    double energy = 0;
    for (float v : layers[l].flat()) energy += double(v) * v;
    const double rms = std::sqrt(energy / double(layers[l].size()));
    for (size_t r = 0; r < joined.rows(); ++r) {
      for (size_t c = 0; c < layers[l].cols(); ++c) {
        joined(r, l * layers[l].cols() + c) = static_cast<float>(layers[l](r, c) / rms);
      }
    }
  }
  return joined;
}

struct Joint {
  std::vector<Matrix<float>> layers;
  JointRows rows;
  std::vector<bool> in_fit;
  Halves halves;
};

Joint joint_of(size_t rows, size_t cols) {
  Joint j{{}, JointRows(rows), {}, {}};
  for (uint64_t seed : {1, 2, 3}) {
    j.layers.push_back(ar1(rows, cols, 0.5, seed));
    for (float& v : j.layers.back().flat()) v = v * float(seed) + 0.5f;
    j.rows.add(j.layers.back());
  }
  for (size_t r = 0; r < rows; ++r) j.in_fit.push_back(r < rows / 2);
  j.halves = halves_of(side_by_side(j.layers));
  return j;
}

TEST(JointRows, AgreeWithTheCovarianceOfColumns) {
  const Joint j = joint_of(60, 4);
  ASSERT_EQ(j.rows.width(), 12);
  EXPECT_NEAR(j.rows.energy(), 12, 1e-5);
  const auto by_rows = j.rows.klt_variances(j.in_fit);
  const auto by_columns = klt_variances(j.halves);
  ASSERT_TRUE(by_rows.ok() && by_columns.ok());
  ASSERT_EQ(by_rows->size(), 12);
  for (size_t i = 0; i < 12; ++i) EXPECT_NEAR((*by_rows)[i], (*by_columns)[i], 1e-5) << i;
}

TEST(JointRows, SpectrumAgreesWithTheCovarianceOfColumns) {
  const Joint j = joint_of(60, 4);
  const auto by_rows = j.rows.principal_shares();
  const auto by_columns = principal_shares(Moments(side_by_side(j.layers)));
  ASSERT_TRUE(by_rows.ok() && by_columns.ok());
  ASSERT_EQ(by_rows->size(), 12);
  for (size_t i = 0; i < 12; ++i) EXPECT_NEAR((*by_rows)[i], (*by_columns)[i], 1e-6) << i;
}

TEST(JointRows, WithFewerRowsThanColumnsSpreadTheRest) {
  const Joint j = joint_of(20, 16);
  const auto by_rows = j.rows.klt_variances(j.in_fit);
  const auto by_columns = klt_variances(j.halves);
  ASSERT_TRUE(by_rows.ok() && by_columns.ok());
  ASSERT_EQ(by_rows->size(), 48);
  EXPECT_NEAR(sum(*by_rows), sum(*by_columns), 1e-4);
  for (size_t i = 0; i < 9; ++i) EXPECT_NEAR((*by_rows)[i], (*by_columns)[i], 1e-4) << i;
  for (size_t i = 9; i < 48; ++i) EXPECT_DOUBLE_EQ((*by_rows)[i], (*by_rows)[47]) << i;
  EXPECT_GT((*by_rows)[47], 0.1);
}

}  // namespace
}  // namespace kvsplice::analyse
