#include <gtest/gtest.h>

#include <cmath>

#include "codec/stage.h"

namespace kvsplice::codec {

StageInfo rotate_stage();

namespace {

TEST(Rotate, TurnsPairsByPositionTimesFrequency) {
  Unit unit{Kind::key, 0, {4, 4}, {}};
  unit.rope = {Rope::Pairs::halves, {1.f, 0.25f}, 1};
  const std::vector<int32_t> positions = {0, 3};
  const CodeContext context{unit, {}, positions};
  Matrix<float> x(2, 8);
  for (size_t r = 0; r < 2; ++r) x(r, 0) = x(r, 1) = x(r, 4) = 1;
  Rows rows{x, {}, false, 0};
  const auto stage = rotate_stage().make({}, 1).value();
  ByteWriter side;
  ASSERT_TRUE(stage->encode(rows, context, side).ok());
  EXPECT_EQ(rows.values.row(0)[0], 1.f);
  EXPECT_NEAR(rows.values(1, 0), std::cos(3.0), 1e-6);
  EXPECT_NEAR(rows.values(1, 2), std::sin(3.0), 1e-6);
  EXPECT_NEAR(rows.values(1, 1), std::cos(0.75), 1e-6);
  EXPECT_NEAR(rows.values(1, 3), std::sin(0.75), 1e-6);
  EXPECT_NEAR(rows.values(1, 4), std::cos(3.0), 1e-6);
  ByteReader reader({});
  ASSERT_TRUE(stage->decode(rows, 2, context, reader).ok());
  for (size_t i = 0; i < x.size(); ++i) EXPECT_NEAR(rows.values.flat()[i], x.flat()[i], 1e-6);
}

TEST(Rotate, RefusesValuesJoinedLayersAndLostColumns) {
  const auto stage = rotate_stage().make({}, 1).value();
  const auto message = [&](Unit unit, size_t columns) {
    const CodeContext context{unit, {}, {}};
    Rows rows{Matrix<float>(0, columns), {}, false, 0};
    ByteWriter side;
    const auto result = stage->encode(rows, context, side);
    return result.ok() ? "" : result.error().message;
  };
  EXPECT_EQ(message({Kind::key, 0, {4, 4}, {}}, 8), "");
  EXPECT_NE(message({Kind::value, 0, {4, 4}, {}}, 8).find("rotate works on keys"),
            std::string::npos);
  EXPECT_NE(message({Kind::key, -1, {4, 4}, {}}, 8).find("one layer"), std::string::npos);
  EXPECT_NE(message({Kind::key, 0, {4, 4}, {}}, 5).find("8 columns"), std::string::npos);
}

}  // namespace
}  // namespace kvsplice::codec
