#include "train/adamw.h"

#include <gtest/gtest.h>

namespace kvsplice::train {
namespace {

// Computed apart, by the update torch documents for AdamW (bias-corrected moments, decay first).
TEST(AdamW, FollowsTheDocumentedUpdate) {
  AdamW<double> optimiser(2, {0.1, 0.5, 0.9, 0.999, 1e-8});
  std::vector<double> p = {1, -2};
  const std::vector<std::vector<double>> gradients = {{0.5, 1}, {-1, 1e-3}, {0, 0}};
  const std::vector<std::vector<double>> wanted = {{0.8500000019999998, -1.999999999},
                                                   {0.8441103541405652, -1.9670802408581987},
                                                   {0.8302047447431603, -1.9205794499874072}};
  for (size_t i = 0; i < gradients.size(); ++i) {
    optimiser.step(p, gradients[i]);
    EXPECT_NEAR(p[0], wanted[i][0], 1e-14) << i;
    EXPECT_NEAR(p[1], wanted[i][1], 1e-14) << i;
  }
}

TEST(AdamW, ScaleActsOnTheGradient) {
  AdamW<double> once(1, {}), scaled(1, {});
  std::vector<double> p = {1}, q = {1};
  const std::vector<double> g = {0.3}, double_g = {0.6};
  once.step(p, g);
  scaled.step(q, double_g, 0.5);
  EXPECT_EQ(p, q);
}

}  // namespace
}  // namespace kvsplice::train
