#include "fit/spread_positions.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>

namespace kvsplice::codec {
namespace {

// `texts` of `length` tokens, without the first four.
std::vector<int32_t> positions_of(size_t texts, int32_t length) {
  std::vector<int32_t> made;
  for (size_t i = 0; i < texts; ++i) {
    for (int32_t p = 4; p < length; ++p) made.push_back(p);
  }
  return made;
}

TEST(SpreadPositions, TextsStayWholeAndLieEvenlyInTheContext) {
  constexpr size_t kTexts = 20, kLength = 100, kContext = 4000, kRows = kLength - 4;
  const auto made = spread_positions(positions_of(kTexts, kLength), kContext);
  ASSERT_EQ(made.size(), kTexts * kRows);
  std::vector<int32_t> firsts;
  for (size_t i = 0; i < kTexts; ++i) {
    firsts.push_back(made[i * kRows]);
    for (size_t r = 0; r < kRows; ++r) EXPECT_EQ(made[i * kRows + r], firsts[i] + int32_t(r));
  }
  EXPECT_EQ(firsts[0], 4);
  std::sort(firsts.begin(), firsts.end());
  EXPECT_LE(firsts.back() + kRows, kContext);
  // Even gaps were 3,900 / 19 wide.
  for (size_t i = 1; i < kTexts; ++i) {
    EXPECT_LT(firsts[i] - firsts[i - 1], 400);
    EXPECT_GT(firsts[i] - firsts[i - 1], 80);
  }
}

TEST(SpreadPositions, WithoutRoomTextsStayWhereTheyStood) {
  const auto stood = positions_of(3, 50);
  EXPECT_EQ(spread_positions(stood, 50), stood);
  EXPECT_EQ(spread_positions(stood, 0), stood);
  EXPECT_NE(spread_positions(stood, 60), stood);
  EXPECT_TRUE(spread_positions({}, 100).empty());
}

}  // namespace
}  // namespace kvsplice::codec
