#include "train/quantile_knots.h"

#include <gtest/gtest.h>

#include "core/random.h"

namespace kvsplice::train {
namespace {

TEST(QuantileKnots, AreQuantiles) {
  Matrix<float> rows(101, 2);
  Random random(1);
  std::vector<uint32_t> order(101);
  for (uint32_t i = 0; i < 101; ++i) order[i] = i;
  random.shuffle(order);
  for (size_t r = 0; r < 101; ++r) rows(r, 0) = float(order[r]), rows(r, 1) = 5;
  const Matrix<float> knots = quantile_knots(rows, 7);
  const float wanted[7] = {0, 16, 33, 50, 66, 83, 100};  // floor(i / 6 * 100)
  for (size_t k = 0; k < 7; ++k) {
    EXPECT_EQ(knots(k, 0), wanted[k]);
    EXPECT_EQ(knots(k, 1), 5);
  }
  EXPECT_EQ(quantile_knots(rows.view().row_range(0, 1), 3)(2, 0), float(order[0]));
}

}  // namespace
}  // namespace kvsplice::train
