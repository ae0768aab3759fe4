#include "core/file_hash.h"

#include <gtest/gtest.h>

#include "core/bytes.h"
#include "core/file.h"
#include "core/random.h"

namespace kvsplice {
namespace {

// More than one piece of the streamed reading, and the border cases.
TEST(HashFile, IsTheHashOfAllBytes) {
  Random random(1);
  for (const size_t size : {size_t{0}, size_t{1}, size_t{1} << 20, (size_t{2} << 20) + 17}) {
    Bytes bytes(size);
    for (auto& b : bytes) b = static_cast<uint8_t>(random.next32());
    const auto path = testing::TempDir() + "kvsplice_hash_file";
    ASSERT_TRUE(write_file(path, bytes).ok());
    const auto hash = hash_file(path);
    ASSERT_TRUE(hash.ok());
    EXPECT_EQ(hash->size, size);
    EXPECT_EQ(hash->hash, hash128_hex(bytes));
  }
}

TEST(PiecewiseHash, IsThatOfThePiecesTogether) {
  Random random(2);
  Bytes bytes(5000);
  for (auto& b : bytes) b = static_cast<uint8_t>(random.next32());
  PiecewiseHash hash;
  for (size_t at = 0, n = 0; at < bytes.size(); at += n, n = 3 * n + 1) {
    n = std::min(n, bytes.size() - at);
    hash.add(ByteSpan(bytes).subspan(at, n));
  }
  EXPECT_EQ(hash.hex(), hash128_hex(bytes));
  EXPECT_EQ(PiecewiseHash().hex(), hash128_hex({}));
}

TEST(HashFile, NamesWhatCannotBeRead) {
  const auto missing = hash_file("no/such/file");
  ASSERT_FALSE(missing.ok());
  EXPECT_EQ(missing.error().kind, ErrorKind::io);
  EXPECT_NE(missing.error().message.find("no/such/file"), std::string::npos);
  EXPECT_FALSE(hash_file(testing::TempDir()).ok());
}

}  // namespace
}  // namespace kvsplice
