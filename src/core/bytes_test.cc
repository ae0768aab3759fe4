#include "core/bytes.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <limits>

namespace kvsplice {
namespace {

using ::testing::HasSubstr;

ByteSpan bytes_of(std::string_view text) {
  return {reinterpret_cast<const uint8_t*>(text.data()), text.size()};
}

RC_GTEST_PROP(Bytes, RoundTrip,
              (uint64_t number, std::string text, std::vector<float> values, int16_t last)) {
  ByteWriter out;
  out.put_varint(number);
  out.put_string(text);
  out.put_array(std::span<const float>(values));
  out.put(last);
  ByteReader in(out.bytes());
  RC_ASSERT(in.get_varint().value() == number);
  RC_ASSERT(in.get_string().value() == text);
  RC_ASSERT(in.get_array<float>(values.size()).value() == values);
  RC_ASSERT(in.get<int16_t>().value() == last);
  RC_ASSERT(in.left() == 0u);
}

// Every cut leaves some read failing, and none reads past the end (the sanitizers watch).
RC_GTEST_PROP(Bytes, EveryTruncationIsAnError, (uint64_t number, const std::string& text)) {
  ByteWriter out;
  out.put_varint(number);
  out.put_string(text);
  for (size_t size = 0; size < out.size(); ++size) {
    const Bytes cut(out.bytes().begin(), out.bytes().begin() + long(size));
    ByteReader in(cut);
    RC_ASSERT(!in.get_varint().ok() || !in.get_string().ok());
  }
}

TEST(Bytes, VarintIsLittleEndianBase128) {
  ByteWriter out;
  out.put_varint(300);
  EXPECT_EQ(out.bytes(), (Bytes{0xac, 0x02}));
  out.put_varint(std::numeric_limits<uint64_t>::max());
  EXPECT_EQ(out.size(), 2u + 10u);
}

TEST(Bytes, EveryNumberHasOneVarint) {
  const Bytes zero = {0}, padded_zero = {0x80, 0}, seven = {7}, padded_seven = {0x87, 0x80, 0};
  EXPECT_TRUE(ByteReader(zero).get_varint().ok());
  EXPECT_TRUE(ByteReader(seven).get_varint().ok());
  for (const Bytes& padded : {padded_zero, padded_seven}) {
    EXPECT_THAT(ByteReader(padded).get_varint().error().message, HasSubstr("more bytes than"));
  }
}

TEST(Bytes, VarintBeyond64BitsIsRefused) {
  const Bytes too_large(9, 0xff), endless(20, 0x80);
  Bytes bytes = too_large;
  bytes.push_back(0x02);  // bit 64
  EXPECT_THAT(ByteReader(bytes).get_varint().error().message, HasSubstr("longer than 64 bits"));
  EXPECT_THAT(ByteReader(endless).get_varint().error().message, HasSubstr("longer than 64 bits"));
}

TEST(Bytes, HugeCountsAreRefusedBeforeAllocation) {
  const Bytes few(16);
  ByteReader in(few);
  EXPECT_EQ(in.get_array<double>(std::numeric_limits<size_t>::max()).error().kind,
            ErrorKind::format);
  EXPECT_EQ(in.take(17).error().message, "truncated: 17 bytes wanted at byte 0, 16 left");
  EXPECT_EQ(in.position(), 0u) << "a refused read moves nothing";
}

TEST(Bytes, StringLimit) {
  ByteWriter out;
  out.put_string("12345");
  EXPECT_FALSE(ByteReader(out.bytes()).get_string(4).ok());
  EXPECT_TRUE(ByteReader(out.bytes()).get_string(5).ok());
}

// Published test vectors of XXH3 on the empty input.
TEST(Bytes, Hashes) {
  EXPECT_EQ(hash64({}), 0x2d06800538d394c2u);
  EXPECT_EQ(hash128_hex({}), "99aa06d3014798d86001c324468d497f");
  EXPECT_NE(hash64(bytes_of("a")), hash64(bytes_of("b")));
  EXPECT_NE(hash64(bytes_of("a"), 1), hash64(bytes_of("a"), 2));
}

}  // namespace
}  // namespace kvsplice
