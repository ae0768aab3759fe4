#include <gtest/gtest.h>

#include <cmath>

#include "codec/stage.h"

namespace kvsplice::codec {

StageInfo f16_stage();

namespace {

const Unit kUnit{Kind::key, 0, {1}, {}};
const CodeContext kContext{kUnit, {}, {}};

TEST(F16, EveryFiniteHalfSurvives) {
  const auto stage = f16_stage().make({}, 1).value();
  Rows rows{{}, Matrix<int32_t>(1, 65536), true, 16};
  size_t n = 0;
  for (int32_t code = -32768; code < 32768; ++code) {
    if ((code & 0x7c00) != 0x7c00) rows.codes(0, n++) = code;
  }
  ASSERT_EQ(n, 65536u - 2 * 1024);
  for (; n < 65536; ++n) rows.codes(0, n) = 0;
  const Matrix<int32_t> codes = rows.codes;
  ByteReader reader({});
  ASSERT_TRUE(stage->decode(rows, 1, kContext, reader).ok());
  ByteWriter side;
  ASSERT_TRUE(stage->encode(rows, kContext, side).ok());
  EXPECT_EQ(rows.codes, codes);
}

TEST(F16, RefusesOverflowAndHostileCodes) {
  const auto stage = f16_stage().make({}, 1).value();
  for (float x : {65520.f, -1e9f, std::nanf("")}) {
    Rows rows{Matrix<float>(1, 1), {}, false, 0};
    rows.values(0, 0) = x;
    ByteWriter side;
    EXPECT_FALSE(stage->encode(rows, kContext, side).ok()) << x;
  }
  for (int32_t code : {0x7c00, 0x7e00, -1024, 0x8000, 1 << 20}) {
    Rows rows{{}, Matrix<int32_t>(1, 1), true, 16};
    rows.codes(0, 0) = code;
    ByteReader reader({});
    EXPECT_FALSE(stage->decode(rows, 1, kContext, reader).ok()) << code;
  }
}

}  // namespace
}  // namespace kvsplice::codec
