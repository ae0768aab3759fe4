#include <gtest/gtest.h>
#include <hwy/targets.h>

#include <bit>
#include <cmath>

#include "codec/stage.h"
#include "codec/transform/hadamard/hadamard_kernel.h"
#include "core/random.h"

namespace kvsplice::codec {

StageInfo hadamard_stage();

namespace {

std::vector<float> noise(size_t n, uint64_t seed) {
  Random random(seed);
  std::vector<float> x(n);
  for (float& v : x) v = static_cast<float>(random.normal());
  return x;
}

// Entry (i, j) of the Hadamard matrix: the parity of the bits i and j share.
double sign(size_t i, size_t j) { return std::popcount(i & j) % 2 == 0 ? 1 : -1; }

TEST(HadamardKernel, ReferenceIsTheMatrixProduct) {
  for (size_t size = 1; size <= 256; size *= 2) {
    const auto x = noise(size, size);
    auto y = x;
    hadamard_reference(y.data(), 1, size);
    for (size_t i = 0; i < size; ++i) {
      double sum = 0;
      for (size_t j = 0; j < size; ++j) sum += sign(i, j) * x[j];
      EXPECT_NEAR(y[i], sum / std::sqrt(double(size)), 1e-5) << size;
    }
  }
}

TEST(HadamardKernel, EverySimdTargetGivesTheBitsOfTheReference) {
  const auto targets = hwy::SupportedAndGeneratedTargets();
  EXPECT_FALSE(targets.empty());
  for (int64_t target : targets) {
    hwy::SetSupportedTargetsForTest(target);
    for (size_t size = 1; size <= 512; size *= 2) {
      for (size_t blocks : {0, 1, 2, 5}) {
        auto wanted = noise(size * blocks + 1, size), got = wanted;
        hadamard_reference(wanted.data(), blocks, size);
        hadamard(got.data(), blocks, size);
        EXPECT_EQ(got, wanted) << hwy::TargetName(target) << ", " << blocks << " x " << size;
      }
    }
  }
  hwy::SetSupportedTargetsForTest(0);
}

// An outlier in one column spreads over its block of 32 and no further: 96 = 3 x 32.
TEST(Hadamard, WorksInTheLargestPowerOfTwoOfTheHead) {
  const Unit unit{Kind::value, 0, {96, 5}, {}};
  const CodeContext context{unit, {}, {}};
  Rows rows{Matrix<float>(1, 101), {}, false, 0};
  rows.values(0, 40) = 8;
  rows.values(0, 98) = 3;
  const auto stage = hadamard_stage().make({}, 1).value();
  ByteWriter side;
  ASSERT_TRUE(stage->encode(rows, context, side).ok());
  for (size_t c = 0; c < 96; ++c) {
    const float wanted = c >= 32 && c < 64 ? 8 / std::sqrt(32.f) : 0;
    EXPECT_NEAR(std::abs(rows.values(0, c)), wanted, 1e-6) << c;
  }
  EXPECT_EQ(rows.values(0, 98), 3.f);
}

TEST(Hadamard, RefusesColumnsThatAreNotTheHeads) {
  const Unit unit{Kind::value, 0, {8, 8}, {}};
  const auto stage = hadamard_stage().make({}, 1).value();
  Rows rows{Matrix<float>(4, 7), {}, false, 0};
  ByteWriter side;
  EXPECT_FALSE(stage->encode(rows, {unit, {}, {}}, side).ok());
}

}  // namespace
}  // namespace kvsplice::codec
