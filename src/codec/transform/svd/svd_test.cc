#include <gtest/gtest.h>

#include <cmath>

#include "codec/stage.h"
#include "core/random.h"
#include "solve/solve.h"

namespace kvsplice::codec {

StageInfo svd_stage();

namespace {

const Unit kUnit{Kind::key, 0, {24, 24}, {}};
const CodeContext kContext{kUnit, {}, {}};

Matrix<float> noise(size_t rows, size_t cols, uint64_t seed) {
  Random random(seed);
  Matrix<float> x(rows, cols);
  for (float& v : x.flat()) v = static_cast<float>(random.normal());
  return x;
}

// Bytes of side data of n rows, and the decoded rows.
size_t pass(const KeyValues& params, Matrix<float>& x) {
  const auto stage = svd_stage().make(params, 1).value();
  Rows rows{x, {}, false, 0};
  ByteWriter side;
  EXPECT_TRUE(stage->encode(rows, kContext, side).ok());
  EXPECT_EQ(rows.width(), 0u);
  ByteReader reader(side.bytes());
  EXPECT_TRUE(stage->decode(rows, x.rows(), kContext, reader).ok());
  EXPECT_EQ(reader.left(), 0u);
  x = std::move(rows.values);
  return side.size();
}

TEST(TruncatedSvdStage, TakesExactlyOneOfRatioAndRank) {
  EXPECT_FALSE(svd_stage().make({}, 1).ok());
  EXPECT_FALSE(svd_stage().make({{"ratio", "2"}, {"rank", "3"}}, 1).ok());
  EXPECT_TRUE(svd_stage().make({{"ratio", "2"}}, 1).ok());
}

TEST(TruncatedSvdStage, RankAndBytesFollowTheFormula) {
  for (const auto& [n, ratio, rank] :
       {std::tuple{256, 2, 5}, {256, 4, 2}, {256, 16, 1}, {2, 1, 1}, {1, 1, 1}}) {
    auto x = noise(n, 48, 1);
    const size_t bytes = pass({{"ratio", std::to_string(ratio)}}, x);
    EXPECT_EQ(bytes, 2u * 4u * rank * (n + 1 + 24)) << n << " rows, ratio " << ratio;
  }
}

TEST(TruncatedSvdStage, ErrorIsTheEnergyOfTheDroppedSingularValues) {
  const auto x = noise(100, 48, 2);
  auto back = x;
  pass({{"rank", "10"}}, back);
  double error = 0, dropped = 0;
  for (size_t i = 0; i < x.size(); ++i) error += std::pow(x.flat()[i] - back.flat()[i], 2);
  for (size_t head : {0, 24}) {
    const auto values = singular_values(x.view().col_range(head, 24)).value();
    for (size_t i = 10; i < values.size(); ++i) dropped += values[i] * values[i];
  }
  EXPECT_NEAR(error / dropped, 1, 1e-4);
}

TEST(TruncatedSvdStage, FullRankIsExactEvenForFewRows) {
  for (size_t n : {1, 3, 24, 50}) {
    const auto x = noise(n, 48, 3);
    auto back = x;
    pass({{"rank", "1000"}}, back);
    for (size_t i = 0; i < x.size(); ++i) EXPECT_NEAR(back.flat()[i], x.flat()[i], 1e-5);
  }
}

TEST(TruncatedSvdStage, RefusesFactorsThatAreNotFinite) {
  const auto stage = svd_stage().make({{"rank", "1"}}, 1).value();
  ByteWriter side;
  for (int i = 0; i < 2 * (4 + 1 + 24); ++i) side.put(i == 7 ? std::nanf("") : 1.f);
  ByteReader reader(side.bytes());
  Rows rows;
  EXPECT_FALSE(stage->decode(rows, 4, kContext, reader).ok());
}

}  // namespace
}  // namespace kvsplice::codec
