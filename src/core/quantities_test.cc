#include "core/quantities.h"

#include <gmock/gmock.h>

namespace kvsplice {
namespace {

using testing::HasSubstr;

TEST(Quantities, SizesAreBytesOrPowersOf1024) {
  EXPECT_EQ(parse_size("0").value(), 0u);
  EXPECT_EQ(parse_size("123").value(), 123u);
  EXPECT_EQ(parse_size("2K").value(), 2048u);
  EXPECT_EQ(parse_size("3M").value(), 3u << 20);
  EXPECT_EQ(parse_size("20G").value(), uint64_t{20} << 30);
  EXPECT_EQ(parse_size("1T").value(), uint64_t{1} << 40);
  EXPECT_EQ(parse_size("18446744073709551615").value(), UINT64_MAX);
}

TEST(Quantities, DurationsAreSecondsMinutesHoursOrDays) {
  EXPECT_EQ(parse_duration("90").value(), 90u);
  EXPECT_EQ(parse_duration("90s").value(), 90u);
  EXPECT_EQ(parse_duration("5m").value(), 300u);
  EXPECT_EQ(parse_duration("2h").value(), 7200u);
  EXPECT_EQ(parse_duration("30d").value(), 2592000u);
}

TEST(Quantities, EverythingElseIsWrongUsage) {
  for (const char* wrong : {"", "K", "-1", "+1", "1.5G", "1k", "1 G", "1GB", "G1", "0x10",
                            "18446744073709551616", "16777216T", "1KK", "nan", "1m"}) {
    const auto size = parse_size(wrong);
    ASSERT_FALSE(size.ok()) << wrong;
    EXPECT_EQ(size.error().kind, ErrorKind::usage);
    EXPECT_THAT(size.error().message, HasSubstr(std::string("'") + wrong + "'"));
  }
  for (const char* wrong : {"", "s", "-1s", "1.5h", "1H", "1 d", "1w", "300000000000000000d"}) {
    const auto duration = parse_duration(wrong);
    ASSERT_FALSE(duration.ok()) << wrong;
    EXPECT_EQ(duration.error().kind, ErrorKind::usage);
  }
}

TEST(Quantities, ArePrintedInTheLargestUnit) {
  EXPECT_EQ(print_size(0), "0 B");
  EXPECT_EQ(print_size(1023), "1023 B");
  EXPECT_EQ(print_size(1536), "1.5 KiB");
  EXPECT_EQ(print_size(uint64_t{20} << 30), "20.0 GiB");
  EXPECT_EQ(print_size(uint64_t{5} << 50), "5120.0 TiB");
  EXPECT_EQ(print_duration(0), "0 s");
  EXPECT_EQ(print_duration(59), "59 s");
  EXPECT_EQ(print_duration(3599), "59 min");
  EXPECT_EQ(print_duration(7300), "2 h");
  EXPECT_EQ(print_duration(1000000), "11 d");
}

}  // namespace
}  // namespace kvsplice
