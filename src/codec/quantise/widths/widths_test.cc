#include "codec/quantise/widths/widths.h"

#include <gmock/gmock.h>

#include <cmath>

#include "core/random.h"
#include "fit/stage_fit.h"

namespace kvsplice::codec {

StageInfo widths_stage();

namespace {

using ::testing::Each;
using ::testing::ElementsAre;

// Columns of standard deviations 4, 2, 1 and 0.001.
constexpr size_t kColumns = 4;
const Unit kUnit{Kind::value, 0, {kColumns}, {}};
const FitContext kContext{{kUnit, {}, {}}, {}, 1};  // rms of the unit

Matrix<float> gaussian(size_t rows, uint64_t seed) {
  constexpr double kSizes[kColumns] = {4, 2, 1, 0.001};
  Random random(seed);
  Matrix<float> x(rows, kColumns);
  for (size_t r = 0; r < rows; ++r) {
    for (size_t c = 0; c < kColumns; ++c) x(r, c) = float(kSizes[c] * random.normal());
  }
  return x;
}

std::unique_ptr<Stage> fitted(const KeyValues& params) {
  return fit_stage("widths", params, {gaussian(20000, 1), {}, false, 0}, kContext).value();
}

std::vector<int> widths_of(const Stage& stage) {
  const State state = stage.save();
  const auto& values = state.at("widths").values;
  return {values.begin(), values.end()};
}

Matrix<float> back(const Stage& stage, const Matrix<float>& x, ByteWriter& side) {
  Rows rows{x, {}, false, 0};
  EXPECT_TRUE(stage.encode(rows, kContext, side).ok());
  ByteReader reader(side.bytes());
  EXPECT_TRUE(stage.decode(rows, x.rows(), kContext, reader).ok());
  EXPECT_EQ(reader.left(), 0u);
  return std::move(rows.values);
}

// Twice the deviation is worth one bit more.
TEST(Widths, FollowTheLogarithmOfTheDeviation) {
  EXPECT_THAT(widths_of(*fitted({{"delta", "0.8"}})), ElementsAre(5, 4, 3, 0));
  EXPECT_THAT(widths_of(*fitted({{"delta", "0.4"}})), ElementsAre(6, 5, 4, 0));
  EXPECT_THAT(widths_of(*fitted({{"delta", "0.4"}, {"most", "2"}})), ElementsAre(2, 2, 2, 0));
  EXPECT_THAT(widths_of(*fitted({{"delta", "1000"}})), Each(0));
}

// The middle one has the delta that was given, and is that of rows of which nothing is known.
TEST(Widths, GradesHaveTablesOfTheirOwn) {
  const auto stage = fitted({{"delta", "0.4"}, {"grades", "3"}, {"spread", "2"}});
  EXPECT_THAT(widths_of(*stage), ElementsAre(6, 6, 5, 0, 6, 5, 4, 0, 5, 4, 3, 0));
  const auto x = gaussian(70, 3);
  ByteWriter side;
  const auto y = back(*stage, x, side);
  const auto plain = fitted({{"delta", "0.4"}});
  ByteWriter without;
  EXPECT_EQ(y.flat()[5], back(*plain, x, without).flat()[5]);
  EXPECT_EQ(side.size(), without.size() + 2);  // a byte for each block

  std::vector<uint8_t> bytes(side.bytes().begin(), side.bytes().end());
  EXPECT_EQ(bytes[1], 1);
  bytes[1] = 3;
  Rows rows;
  ByteReader reader(bytes);
  EXPECT_FALSE(stage->decode(rows, 70, kContext, reader).ok());
  EXPECT_FALSE(stage->load(plain->save(), kColumns).ok());
}

// Max 1960, table I, at five bits, four and three.
TEST(Widths, LevelsReachThePublishedDistortions) {
  const auto stage = fitted({{"delta", "0.8"}});
  const auto x = gaussian(40000, 2);
  ByteWriter side;
  const auto y = back(*stage, x, side);
  const double wanted[] = {16 * .002499, 4 * .009497, .03454};
  for (size_t c = 0; c < 3; ++c) {
    double sum = 0;
    for (size_t r = 0; r < x.rows(); ++r) sum += std::pow(double(x(r, c)) - y(r, c), 2);
    EXPECT_NEAR(sum / double(x.rows()) / wanted[c], 1, 0.1) << c;  // levels are rounded
  }
}

// 64 rows: eight bytes a plane, that of the highest bit first.
TEST(Widths, PlanesStandAsTheSpecificationSays) {
  const auto stage = widths_stage().make({}, 1).value();
  const State state = {
      {"widths", {{2}, {2, 0}}}, {"scales", {{2}, {0.5, 1}}}, {"levels", {{5}, {-3, -1, 1, 3, 7}}}};
  ASSERT_TRUE(stage->load(state, 2).ok());
  Matrix<float> x(65, 2);
  for (size_t r = 0; r < 65; ++r) x(r, 0) = r == 1 ? -0.4f : r == 9 ? 0.6f : r == 64 ? 9.f : -2.f;
  ByteWriter side;
  const auto y = back(*stage, x, side);
  const auto bytes = side.bytes();
  const std::vector<uint8_t> wanted = {65, 0, 2, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 1, 1};
  EXPECT_EQ(std::vector<uint8_t>(bytes.begin(), bytes.end()), wanted);
  EXPECT_EQ(y(0, 0), -1.5f);
  EXPECT_EQ(y(1, 0), -0.5f);
  EXPECT_EQ(y(9, 0), 0.5f);
  EXPECT_EQ(y(64, 0), 1.5f);
  EXPECT_EQ(y(3, 1), 7.f);
}

TEST(Widths, RefusesWhatTheSpecificationDoes) {
  const auto stage = widths_stage().make({}, 1).value();
  const auto loads = [&](float width, float scale, std::vector<float> codes) {
    return stage
        ->load({{"widths", {{1}, {width}}},
                {"scales", {{1}, {scale}}},
                {"levels", {{codes.size()}, codes}}},
               1)
        .ok();
  };
  EXPECT_TRUE(loads(1, 1, {-127, 127}));
  EXPECT_FALSE(loads(7, 1, std::vector<float>(128)));
  EXPECT_FALSE(loads(-1, 1, {0}));
  EXPECT_FALSE(loads(0.5, 1, {0}));
  EXPECT_FALSE(loads(1, -1, {0, 1}));
  EXPECT_FALSE(loads(1, 1, {1, 0}));
  EXPECT_FALSE(loads(1, 1, {0, 128}));
  EXPECT_FALSE(loads(1, 1, {0}));
  const std::vector<uint8_t> bits_of_others = {3, 8};  // three rows, one plane
  Rows rows;
  ByteReader reader(bits_of_others);
  EXPECT_FALSE(stage->decode(rows, 3, kContext, reader).ok());
}

}  // namespace
}  // namespace kvsplice::codec
