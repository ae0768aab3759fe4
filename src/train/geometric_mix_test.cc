#include "train/geometric_mix.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "train/pca.h"

namespace kvsplice::train {
namespace {

// Printed by NumPy for the design note's recipe (bench/peers/warps.py draws it), seed 13.
TEST(GeometricMix, IsTheSeedsOwnData) {
  const GeometricMix mix = geometric_mix().value();
  ASSERT_EQ(mix.train.rows(), 4500u);
  ASSERT_EQ(mix.test.rows(), 1500u);
  EXPECT_NEAR(mix.train(0, 0), -0.80907905f, 2e-7);
  EXPECT_NEAR(mix.train(0, 1), -0.5457714f, 2e-7);
  EXPECT_NEAR(mix.train(0, 2), 1.7779154f, 2e-7);
  EXPECT_NEAR(mix.test(1499, 125), 0.46513945f, 2e-7);
  EXPECT_NEAR(mix.test(1499, 127), -1.0092379f, 2e-7);
  double sum = 0, squares = 0;
  for (const auto* part : {&mix.train, &mix.test}) {
    for (double x : part->flat()) sum += x, squares += x * x;
  }
  EXPECT_NEAR(sum, 188811.67236124625, 1e-3);
  EXPECT_NEAR(squares, 4043639.3964379225, 1e-2);
}

// The PCA column of the seed's table, to its last digit.
TEST(GeometricMix, PcaGivesTheReferenceTable) {
  const GeometricMix mix = geometric_mix().value();
  const Pca pca = fit_pca(mix.train, 64).value();
  const std::pair<size_t, long> table[] = {{8, 1314}, {12, 826}, {16, 789}, {24, 733},
                                           {32, 676}, {48, 561}, {64, 451}};
  for (const auto& [rank, millionths] : table) {
    Matrix<float> x = mix.test;
    project(pca, rank, x);
    EXPECT_EQ(std::lround(1e6 * mean_squared_error(x, mix.test)), millionths) << "k = " << rank;
  }
}

TEST(GeometricMix, OtherSizesAndSeeds) {
  const GeometricMix mix = geometric_mix({40, 8, 0.0, 7}).value();
  EXPECT_EQ(mix.train.rows(), 30u);
  EXPECT_EQ(mix.test.rows(), 10u);
  EXPECT_EQ(mix.test.cols(), 8u);
  EXPECT_NE(mix.train, geometric_mix({40, 8, 0.0, 8})->train);
  EXPECT_EQ(geometric_mix({0, 8, 0.0, 7})->train.rows(), 0u);
  EXPECT_THAT(geometric_mix({40, 145, 0.03, 7}).error().message, ::testing::HasSubstr("1 ... 144"));
}

}  // namespace
}  // namespace kvsplice::train
