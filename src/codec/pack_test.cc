#include "codec/pack.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "codec/entropy_meter.h"
#include "core/random.h"

namespace kvsplice::codec {
namespace {

Rows codes_of(Matrix<int32_t> codes, int bits) { return {{}, std::move(codes), true, bits}; }

Result<Rows> there_and_back(const Rows& rows, size_t* size = nullptr) {
  ByteWriter out;
  KVS_TRY(pack(rows, out));
  if (size != nullptr) *size = out.size();
  ByteReader in(out.bytes());
  return unpack(in, rows.count(), rows.width(), rows.quantised);
}

TEST(Pack, CodesOfFixedWidthTakeJustThat) {
  Matrix<int32_t> codes(10, 7);
  Random random(1);
  for (int32_t& c : codes.flat()) c = static_cast<int32_t>(random.below(16)) - 8;
  size_t size = 0;
  const auto back = there_and_back(codes_of(codes, 4), &size);
  ASSERT_TRUE(back.ok());
  EXPECT_EQ(back->codes, codes);
  EXPECT_EQ(size, 1u + 35u);
}

TEST(Pack, UnboundedCodesTakeTheWidthOfTheirColumn) {
  Matrix<int32_t> codes(3, 4);
  const int32_t extremes[] = {0, 1, -128, std::numeric_limits<int32_t>::min()};
  for (size_t c = 0; c < 4; ++c) codes(1, c) = extremes[c];
  codes(2, 3) = std::numeric_limits<int32_t>::max();
  size_t size = 0;
  const auto back = there_and_back(codes_of(codes, 0), &size);
  ASSERT_TRUE(back.ok());
  EXPECT_EQ(back->codes, codes);
  EXPECT_EQ(size, 1u + 4u + (3 * (0 + 2 + 8 + 32) + 7) / 8);
}

// A block has one form: no wider columns, nothing in the bits behind the last code.
TEST(Pack, CodesInMoreBitsThanTheyNeedAreRefused) {
  Matrix<int32_t> codes(3, 1);
  codes(1, 0) = -2;
  ByteWriter out;
  ASSERT_TRUE(pack(codes_of(codes, 0), out).ok());
  const auto read = [](const Bytes& bytes) {
    ByteReader in(bytes);
    return unpack(in, 3, 1, true);
  };
  const Bytes good = out.bytes();  // not fixed, 2 bits a code, six bits of codes
  ASSERT_EQ(good, (Bytes{0, 2, 0b001000}));
  EXPECT_TRUE(read(good).ok());
  EXPECT_FALSE(read({0, 2, 0b1001000}).ok());
  EXPECT_FALSE(read({0, 3, 0b110000, 0}).ok());
}

TEST(Pack, HalvesThatAreNotFiniteAreRefused) {
  for (uint16_t half : {0x7c00, 0xfc00, 0x7e00}) {
    ByteWriter out;
    out.put(uint16_t{0});
    out.put(half);
    ByteReader in(out.bytes());
    EXPECT_EQ(unpack(in, 1, 2, false).error().kind, ErrorKind::format);
  }
}

TEST(Pack, FloatsBecomeHalves) {
  Rows rows;
  rows.values = Matrix<float>(2, 3);
  rows.values(0, 1) = 0.1f;
  rows.values(1, 2) = -1000;
  size_t size = 0;
  const auto back = there_and_back(rows, &size);
  ASSERT_TRUE(back.ok());
  EXPECT_EQ(size, 12u);
  EXPECT_NEAR(back->values(0, 1), 0.1f, 0.1f / 2048);
  EXPECT_NE(back->values(0, 1), 0.1f);
  EXPECT_EQ(back->values(1, 2), -1000);
  rows.values(0, 0) = 1e6f;
  EXPECT_FALSE(there_and_back(rows).ok());
}

TEST(Pack, TruncatedAndHugeCountsAreErrors) {
  Matrix<int32_t> codes(10, 7);
  codes(3, 3) = 100;
  ByteWriter out;
  ASSERT_TRUE(pack(codes_of(codes, 0), out).ok());
  for (size_t n = 0; n < out.size(); ++n) {
    ByteReader in(ByteSpan(out.bytes()).first(n));
    EXPECT_FALSE(unpack(in, 10, 7, true).ok()) << n;
  }
  ByteReader in(out.bytes());
  EXPECT_FALSE(unpack(in, size_t(1) << 60, 7, true).ok());
  ByteReader halves(out.bytes());
  EXPECT_FALSE(unpack(halves, size_t(1) << 60, 7, false).ok());
}

TEST(EntropyMeter, OfFairCoinsIsOneBitEach) {
  EntropyMeter meter;
  Matrix<int32_t> codes(4096, 2);
  for (size_t r = 0; r < 4096; ++r) codes(r, 0) = r % 2 ? 1000 : -3;  // column 1 is constant
  meter.add(Unit{Kind::value, 0, {2}, {}}, codes);
  EXPECT_NEAR(meter.bits(Kind::value), 4096 + 0.5 * 12, 1e-6);
  EXPECT_EQ(meter.bits(Kind::key), 0);
}

}  // namespace
}  // namespace kvsplice::codec
