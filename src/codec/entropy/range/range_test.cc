#include <gtest/gtest.h>

#include "fit/stage_fit.h"

namespace kvsplice::codec {

namespace {

constexpr int32_t kReach = 1 << 30;  // of codes, from their column's centre

// With the median 4 in the first column and -4 in the second.
std::unique_ptr<Stage> fitted(const FitContext& context) {
  Matrix<int32_t> codes(64, 2);
  for (size_t r = 0; r < codes.rows(); ++r) {
    codes(r, 0) = 4 + int32_t(r % 3) - 1;
    codes(r, 1) = -4 + int32_t(r % 3) - 1;
  }
  return fit_stage("range", {}, {{}, codes, true, 0}, context).value();
}

// What is written can be read, and what cannot be read is not written.
TEST(RangeStage, CodesBeyondReachAreRefusedAndAllOthersComeBack) {
  const Unit unit{Kind::value, 0, {2}, {}};
  const FitContext context{{unit, {}, {}}};
  const auto stage = fitted(context);
  for (const size_t column : {0, 1}) {
    const int32_t centre = column == 0 ? 4 : -4;
    for (const int32_t sign : {-1, 1}) {
      for (const int32_t beyond : {-2, -1, 0, 1, 2, 3}) {
        Matrix<int32_t> codes(3, 2);
        codes(1, column) = centre + sign * (kReach + beyond);
        Rows rows{{}, codes, true, 0};
        ByteWriter side;
        const auto written = stage->encode(rows, context, side);
        ASSERT_EQ(written.ok(), beyond <= 0) << centre << " " << sign << " " << beyond;
        if (!written.ok()) {
          EXPECT_EQ(written.error().kind, ErrorKind::numeric);
          continue;
        }
        ByteReader in(side.bytes());
        const auto read = stage->decode(rows, 3, context, in);
        ASSERT_TRUE(read.ok()) << read.error().message;
        EXPECT_EQ(rows.codes, codes);
      }
    }
  }
}

}  // namespace
}  // namespace kvsplice::codec
