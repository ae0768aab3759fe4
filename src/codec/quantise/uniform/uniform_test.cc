#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <cmath>

#include "codec/stage.h"
#include "core/half.h"

namespace kvsplice::codec {

StageInfo uniform_stage();

namespace {

const Unit kUnit{Kind::key, 0, {1}, {}};
const CodeContext kContext{kUnit, {}, {}};

std::unique_ptr<Stage> make(const KeyValues& params) {
  return uniform_stage().make(params, 1).value();
}

struct Coded {
  Matrix<int32_t> codes;
  Bytes scales;
  bool operator==(const Coded&) const = default;
};

Coded encode(const Stage& stage, const Matrix<float>& x) {
  Rows rows{x, {}, false, 0};
  ByteWriter side;
  EXPECT_TRUE(stage.encode(rows, kContext, side).ok());
  return {rows.codes, side.take()};
}

Matrix<float> decode(const Stage& stage, const Coded& coded) {
  Rows rows{{}, coded.codes, true, 8};
  ByteReader side(coded.scales);
  EXPECT_TRUE(stage.decode(rows, coded.codes.rows(), kContext, side).ok());
  EXPECT_EQ(side.left(), 0u);
  return rows.values;
}

// Magnitudes of every size a cache may hold, subnormal scales and zeros among them.
rc::Gen<float> any_value() {
  return rc::gen::apply(
      [](int mantissa, int exponent) { return std::ldexp(float(mantissa) / 1e6f, exponent); },
      rc::gen::inRange(-1000000, 1000001), rc::gen::inRange(-30, 16));
}

RC_GTEST_PROP(Uniform, CodingADecodedBlockAgainGivesTheSameBytes, ()) {
  const int bits = *rc::gen::inRange(2, 9);
  const size_t width = *rc::gen::inRange(1, 40);
  const auto stage = make({{"bits", std::to_string(bits)}, {"block", "8"}});
  Matrix<float> x(3, width);
  for (float& v : x.flat()) v = *any_value();
  const Coded once = encode(*stage, x);
  const Matrix<float> back = decode(*stage, once);
  RC_ASSERT(encode(*stage, back) == once);
  const int largest = (1 << (bits - 1)) - 1;
  for (size_t i = 0; i < x.size(); ++i) RC_ASSERT(std::abs(once.codes.flat()[i]) <= largest);
}

RC_GTEST_PROP(Uniform, ErrorIsAtMostHalfAStep, ()) {
  const auto stage = make({{"bits", "4"}, {"block", "8"}});
  Matrix<float> x(1, 8);
  for (float& v : x.flat())
    v = *rc::gen::map(rc::gen::inRange(-10000, 10001), [](int i) { return float(i) / 1000.f; });
  const Coded coded = encode(*stage, x);
  const Matrix<float> back = decode(*stage, coded);
  ByteReader scales(coded.scales);
  const float step = from_half(scales.get<uint16_t>().value());
  // The scale is rounded to 11 bits, which moves the largest value by up to 7 * 2^-11 steps.
  for (size_t i = 0; i < 8; ++i) {
    RC_ASSERT(std::abs(back.flat()[i] - x.flat()[i]) <= step * 0.504f + 1e-6f);
  }
}

TEST(Uniform, ShortLastBlockAndExactBytes) {
  const auto stage = make({{"bits", "3"}, {"block", "16"}});
  Matrix<float> x(5, 37);
  for (size_t i = 0; i < x.size(); ++i) x.flat()[i] = std::sin(float(i));
  EXPECT_EQ(encode(*stage, x).scales.size(), 5u * 3 * 2);
}

TEST(Uniform, RefusesWhatAnF16ScaleCannotReach) {
  const auto stage = make({{"bits", "2"}});
  Rows rows{Matrix<float>(2, 4), {}, false, 0};
  rows.values(1, 2) = 65504;
  ByteWriter side;
  Rows fits = rows;
  EXPECT_TRUE(stage->encode(fits, kContext, side).ok());
  rows.values(1, 2) = 7e4f;
  const auto result = stage->encode(rows, kContext, side);
  ASSERT_FALSE(result.ok());
  EXPECT_NE(result.error().message.find("row 1"), std::string::npos) << result.error().message;
}

TEST(Uniform, RefusesHostileScales) {
  const auto stage = make({});
  for (uint16_t scale : {0x7c00, 0x7e00, 0x8001, 0xffff}) {
    ByteWriter side;
    side.put(scale);
    ByteReader reader(side.bytes());
    Rows rows{{}, Matrix<int32_t>(1, 4), true, 4};
    EXPECT_FALSE(stage->decode(rows, 1, kContext, reader).ok()) << scale;
  }
}

}  // namespace
}  // namespace kvsplice::codec
