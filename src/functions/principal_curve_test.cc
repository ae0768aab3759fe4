#include "functions/principal_curve.h"

#include <gtest/gtest.h>

namespace kvsplice::functions {
namespace {

TEST(PrincipalCurve, NearestPointsOnAPolyline) {
  Matrix<float> points(3, 2);
  points(1, 0) = 3;
  points(2, 0) = 3;
  points(2, 1) = 4;
  const PrincipalCurve curve(points);
  EXPECT_EQ(curve.length(), 7);
  const float rows[][3] = {
      {1, 1, 1}, {-5, 0, 0}, {4, 2, 5}, {3, 9, 7}, {4, -1, 3}};  // x, y, length
  for (const auto& row : rows) {
    EXPECT_NEAR(curve.nearest({row, 1, 2})[0], row[2], 1e-5);
  }
  const float lengths[][3] = {{-1, 0, 0}, {2, 2, 0}, {3, 3, 0}, {6, 3, 3}, {8, 3, 4}};
  for (const auto& at : lengths) {
    float out[2];
    curve.point(at[0], out);
    EXPECT_NEAR(out[0], at[1], 1e-6);
    EXPECT_NEAR(out[1], at[2], 1e-6);
  }
}

}  // namespace
}  // namespace kvsplice::functions
