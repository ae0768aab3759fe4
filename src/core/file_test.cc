#include "core/file.h"

#include <gmock/gmock.h>

#include "core/temporary_folder.h"

namespace kvsplice {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;

class File : public ::testing::Test {
 protected:
  size_t entries() const {
    return size_t(std::distance(fs::directory_iterator(dir_), fs::directory_iterator()));
  }

 private:
  const TemporaryFolder folder_ = TemporaryFolder::create("file-test").value();

 protected:
  const fs::path dir_ = fs::path(folder_.path()) / "files";
  const bool made_ = fs::create_directory(dir_);
};

TEST_F(File, RoundTrip) {
  const std::string text("a\0b\n", 4);
  ASSERT_TRUE(write_text(dir_ / "x", text).ok());
  EXPECT_EQ(read_text(dir_ / "x").value(), text);
  EXPECT_EQ(read_file(dir_ / "x").value().size(), 4u);
  EXPECT_EQ(entries(), 1u) << "no temporary is left behind";
}

TEST_F(File, TextIsUtf8) {
  const char* sound[] = {"",
                         "plain",
                         "\xc3\xa9",
                         "\xe2\x82\xac",
                         "\xf0\x9f\x98\x80",
                         "\xf4\x8f\xbf\xbf",
                         "\xed\x9f\xbf\xee\x80\x80"};
  for (const char* text : sound) {
    ASSERT_TRUE(write_text(dir_ / "x", text).ok());
    EXPECT_EQ(read_text(dir_ / "x").value(), text);
  }
  // A stray continuation, overlong forms, a surrogate, too large, cut short, no continuation.
  const char* damaged[] = {
      "\x80",         "\xc0\x80",         "\xe0\x9f\xbf",     "\xf0\x8f\xbf\xbf",
      "\xed\xa0\x80", "\xf4\x90\x80\x80", "\xf5\x80\x80\x80", "\xe2\x82",
      "\xc3z"};
  for (const std::string text : damaged) {
    ASSERT_TRUE(write_text(dir_ / "x", "ab" + text).ok());
    const auto read = read_text(dir_ / "x");
    ASSERT_FALSE(read.ok()) << testing::PrintToString(text);
    EXPECT_EQ(read.error().kind, ErrorKind::format);
    EXPECT_THAT(read.error().message, HasSubstr("is not UTF-8 text: byte 2"));
  }
}

TEST_F(File, AByteOrderMarkIsDroppedAtTheVeryStart) {
  ASSERT_TRUE(write_text(dir_ / "x", "\xef\xbb\xbfone\xef\xbb\xbf").ok());
  EXPECT_EQ(read_text(dir_ / "x").value(), "one\xef\xbb\xbf");
  ASSERT_TRUE(write_text(dir_ / "x", "\xff\xfeo").ok());
  EXPECT_THAT(read_text(dir_ / "x").error().message, HasSubstr("byte 0 is 0xff"));
}

TEST_F(File, Empty) {
  ASSERT_TRUE(write_file(dir_ / "x", {}).ok());
  EXPECT_TRUE(read_file(dir_ / "x").value().empty());
}

TEST_F(File, WritingReplacesTheWhole) {
  ASSERT_TRUE(write_text(dir_ / "x", "a longer text").ok());
  ASSERT_TRUE(write_text(dir_ / "x", "short").ok());
  EXPECT_EQ(read_text(dir_ / "x").value(), "short");
}

TEST_F(File, FailedWriteLeavesNothing) {
  fs::create_directory(dir_ / "taken");
  const auto written = write_text(dir_ / "taken", "x");  // a directory cannot be replaced
  ASSERT_FALSE(written.ok());
  EXPECT_EQ(written.error().kind, ErrorKind::io);
  EXPECT_THAT(written.error().message, HasSubstr("taken"));
  EXPECT_EQ(entries(), 1u);
  EXPECT_FALSE(write_text(dir_ / "no" / "such", "x").ok());
}

TEST_F(File, ErrorsNameTheFileAndTheReason) {
  const auto missing = read_file(dir_ / "missing");
  EXPECT_THAT(missing.error().message, HasSubstr("missing: No such file"));
  EXPECT_EQ(read_file(dir_).error().kind, ErrorKind::io) << "a directory";
}

TEST_F(File, MoreThanTheLimitIsAnError) {
  const Bytes all(100000, 3);
  ASSERT_TRUE(write_file(dir_ / "x", all).ok());
  EXPECT_EQ(read_file(dir_ / "x", 100000).value(), all);
  EXPECT_THAT(read_file(dir_ / "x", 99999).error().message, HasSubstr("more than 99999 bytes"));
}

}  // namespace
}  // namespace kvsplice
