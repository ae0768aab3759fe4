#include "core/byte_source.h"

#include <gmock/gmock.h>

#include <filesystem>

#include "core/file.h"
#include "core/temporary_folder.h"

namespace kvsplice {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

const Bytes kFive = {1, 2, 3, 4, 5};

void expect_five(const ByteSource& source) {
  EXPECT_EQ(source.size(), 5u);
  Bytes some(3);
  ASSERT_TRUE(source.read(2, some.data(), 3).ok());
  EXPECT_THAT(some, ElementsAre(3, 4, 5));
  EXPECT_TRUE(source.read(5, nullptr, 0).ok());
  EXPECT_THAT(read_bytes(source, 2, 3).value(), ElementsAre(3, 4, 5));
  EXPECT_FALSE(read_bytes(source, 0, SIZE_MAX).ok());
  for (const uint64_t offset : {uint64_t{3}, uint64_t{6}, ~uint64_t{0}}) {
    const auto read = source.read(offset, some.data(), 3);
    ASSERT_FALSE(read.ok()) << offset;
    EXPECT_EQ(read.error().kind, ErrorKind::format);
    EXPECT_THAT(read.error().message, HasSubstr("of 5"));
    EXPECT_FALSE(read_bytes(source, offset, 3).ok());
  }
}

TEST(ByteSource, OfMemory) {
  expect_five(*memory_source(kFive));
  expect_five(*view_source(kFive));
}

TEST(ByteSource, OfAFile) {
  const auto folder = TemporaryFolder::create("test");
  ASSERT_TRUE(folder.ok());
  const std::string path = folder->file("five");
  EXPECT_EQ(file_source(path).error().kind, ErrorKind::io);
  ASSERT_TRUE(write_file(path, kFive).ok());
  const auto source = file_source(path);
  ASSERT_TRUE(source.ok());
  expect_five(**source);
  std::filesystem::resize_file(path, 2);
  uint8_t last = 0;
  EXPECT_FALSE((*source)->read(4, &last, 1).ok());
}

}  // namespace
}  // namespace kvsplice
