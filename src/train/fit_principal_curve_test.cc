#include "train/fit_principal_curve.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <numbers>

#include "core/random.h"
#include "train/geometric_mix.h"
#include "train/pca.h"
#include "train/tree_order.h"

namespace kvsplice::train {
namespace {

using functions::PrincipalCurve;

double error_on(const PrincipalCurve& curve, MatrixView<const float> rows) {
  const std::vector<float> places = curve.nearest(rows);
  Matrix<float> back(rows.rows, rows.cols);
  for (size_t r = 0; r < rows.rows; ++r) curve.point(places[r], back.row(r));
  return mean_squared_error(back, rows);
}

// 0.000893 of noise lies across the curve and no code of one number can know it; plain PCA needs 12
// numbers for .00083 and one number leaves .51.
TEST(PrincipalCurve, OneNumberDoesForGeometricMix) {
  const GeometricMix mix = geometric_mix().value();
  const PrincipalCurve curve = fit_principal_curve(mix.train, {}).value();
  const double error = error_on(curve, mix.test);
  EXPECT_LE(error, 0.0010);
  EXPECT_GE(error, 0.00085);
}

// A spiral of three turns: the order along it is not an order along any line.
TEST(PrincipalCurve, FollowsASpiral) {
  Random random(2);
  Matrix<float> rows(1200, 3);
  for (size_t r = 0; r < rows.rows(); ++r) {
    const double t = random.uniform(), angle = 6 * std::numbers::pi * t;
    rows(r, 0) = float((0.3 + t) * std::cos(angle) + 0.005 * random.normal());
    rows(r, 1) = float((0.3 + t) * std::sin(angle) + 0.005 * random.normal());
    rows(r, 2) = float(0.005 * random.normal());
  }
  const double error = error_on(fit_principal_curve(rows, {128, 10}).value(), rows);
  EXPECT_LT(error, 2.5e-5);  // two thirds of the noise, 1.7e-5, and a little
  EXPECT_GT(error, 1e-5);
}

TEST(PrincipalCurve, RowsAllAlikeHaveNone) {
  EXPECT_EQ(fit_principal_curve(Matrix<float>(50, 4), {}).error().kind, ErrorKind::numeric);
}

TEST(TreeOrder, OfALineIsItsOrder) {
  Matrix<float> rows(40, 2);
  for (size_t r = 0; r < 40; ++r) rows(r, 0) = float(7 * r % 40) * 0.5f;
  const auto order = tree_order(rows);
  const bool upwards = order[0] == 0;
  for (size_t r = 0; r < 40; ++r) {
    EXPECT_NEAR(order[r], upwards ? rows(r, 0) : 19.5 - rows(r, 0), 1e-6);
  }
}

// A T: the ends of the bar are farthest apart, and the stem hangs on its middle.
TEST(TreeOrder, BranchesCountFromWhereTheyLeave) {
  Matrix<float> rows(7, 2);
  for (size_t r = 0; r < 5; ++r) rows(r, 0) = 2 * float(r);
  rows(5, 0) = rows(6, 0) = 4;
  rows(5, 1) = 1;
  rows(6, 1) = 2;
  const auto order = tree_order(rows);
  EXPECT_EQ(std::max(order[0], order[4]), 8);
  EXPECT_EQ(order[2], 4);
  EXPECT_EQ(order[6], 6);
}

TEST(TreeOrder, OneRow) { EXPECT_EQ(tree_order(Matrix<float>(1, 3)), std::vector<double>{0}); }

}  // namespace
}  // namespace kvsplice::train
