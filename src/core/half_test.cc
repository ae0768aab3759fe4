#include "core/half.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

namespace kvsplice {
namespace {

TEST(Half, EveryFiniteHalfSurvivesTheDetourThroughFloat) {
  for (uint32_t h = 0; h < 0x10000; ++h) {
    const float value = from_half(static_cast<uint16_t>(h));
    if (std::isnan(value)) continue;
    EXPECT_EQ(to_half(value), h);
  }
}

TEST(Half, KnownValues) {
  EXPECT_EQ(to_half(1.0f), 0x3c00);
  EXPECT_EQ(to_half(-2.0f), 0xc000);
  EXPECT_EQ(to_half(65504.0f), 0x7bff);
  EXPECT_EQ(to_half(65519.0f), 0x7bff);
  EXPECT_EQ(to_half(65520.0f), 0x7c00);  // rounds to infinity
  EXPECT_EQ(to_half(0x1p-24f), 0x0001);
  EXPECT_EQ(to_half(0x1p-25f), 0x0000);  // half of the smallest: ties to even
  EXPECT_EQ(to_half(0x1.8p-25f), 0x0001);
  EXPECT_EQ(from_half(0x3555), 0x1.554p-2f);
  EXPECT_TRUE(std::isnan(from_half(to_half(std::numeric_limits<float>::quiet_NaN()))));
}

TEST(Half, RoundsToNearestEven) {
  // Between 1 and 1 + 2^-10 lies 1 + 2^-11: ties go to the even mantissa.
  EXPECT_EQ(to_half(1 + 0x1p-11f), 0x3c00);
  EXPECT_EQ(to_half(1 + 3 * 0x1p-11f), 0x3c02);
  EXPECT_EQ(to_half(std::nextafter(1 + 0x1p-11f, 2.0f)), 0x3c01);
}

}  // namespace
}  // namespace kvsplice
