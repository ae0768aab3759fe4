#include "core/disk_file.h"

#include <gmock/gmock.h>

#include <filesystem>

#include "core/file.h"
#include "core/temporary_folder.h"

namespace kvsplice {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;
using testing::IsEmpty;

class DiskFileTest : public testing::Test {
 protected:
  std::vector<std::string> names() const {
    std::vector<std::string> all;
    for (const auto& entry : fs::directory_iterator(folder_)) {
      all.push_back(entry.path().filename().string());
    }
    return all;
  }

 private:
  const TemporaryFolder whole_ = TemporaryFolder::create("disk-file-test").value();

 protected:
  const fs::path folder_ = fs::path(whole_.path()) / "files";
  const bool made_ = fs::create_directory(folder_);
  const std::string path_ = (folder_ / "file").string();
};

const Bytes kFive = {1, 2, 3, 4, 5};

TEST_F(DiskFileTest, ReadsWhatIsThereAndNoMore) {
  ASSERT_TRUE(write_file(path_, kFive).ok());
  const auto file = DiskFile::open(path_).value();
  EXPECT_EQ(file.size(), 5u);
  EXPECT_EQ(file.read(1, 3).value(), (Bytes{2, 3, 4}));
  EXPECT_EQ(file.read(5, 0).value(), Bytes{});
  for (const auto& [first, n] : std::vector<std::pair<uint64_t, size_t>>{
           {3, 3}, {6, 0}, {0, SIZE_MAX}, {UINT64_MAX, 2}, {1, SIZE_MAX}}) {
    const auto bytes = file.read(first, n);
    ASSERT_FALSE(bytes.ok()) << first;
    EXPECT_THAT(bytes.error().message, HasSubstr("of 5"));
  }
}

TEST_F(DiskFileTest, AFileCutByAnotherIsAnErrorNotGarbage) {
  ASSERT_TRUE(write_file(path_, kFive).ok());
  const auto file = DiskFile::open(path_).value();
  fs::resize_file(path_, 2);
  EXPECT_EQ(file.read(0, 2).value(), (Bytes{1, 2}));
  EXPECT_FALSE(file.read(0, 3).ok());
}

TEST_F(DiskFileTest, ReplacedFilesAppearWhenPublished) {
  ASSERT_TRUE(write_file(path_, kFive).ok());
  {
    auto file = DiskFile::replace(OutputFile::reserve(path_).value());
    ASSERT_TRUE(file.write(0, Bytes{9}).ok());
    EXPECT_EQ(read_file(path_).value(), kFive);
  }
  EXPECT_EQ(names(), std::vector<std::string>{"file"}) << "the temporary stayed";
  auto file = DiskFile::replace(OutputFile::reserve(path_).value());
  ASSERT_TRUE(file.write(2, Bytes{9}).ok());
  ASSERT_TRUE(file.flush().ok());
  ASSERT_TRUE(file.publish().ok());
  EXPECT_EQ(read_file(path_).value(), (Bytes{0, 0, 9}));
  EXPECT_EQ(names(), std::vector<std::string>{"file"});
}

TEST_F(DiskFileTest, ExtendingWritesInPlaceUnderALock) {
  ASSERT_TRUE(write_file(path_, kFive).ok());
  auto file = DiskFile::extend(path_).value();
  EXPECT_THAT(DiskFile::extend(path_).error().message, HasSubstr("another program writes"));
  EXPECT_TRUE(DiskFile::open(path_).ok()) << "readers need no lock";
  ASSERT_TRUE(file.write(5, Bytes{6, 7}).ok());
  ASSERT_TRUE(file.resize(6).ok());
  EXPECT_EQ(file.size(), 6u);
  EXPECT_EQ(read_file(path_).value(), (Bytes{1, 2, 3, 4, 5, 6}));
}

TEST_F(DiskFileTest, WhatIsNoFileIsNamed) {
  EXPECT_THAT(DiskFile::open(path_).error().message, HasSubstr("No such file"));
  EXPECT_EQ(DiskFile::open(folder_.string()).error().kind, ErrorKind::io) << "a directory";
  EXPECT_FALSE(DiskFile::extend(path_).ok());
  EXPECT_THAT(names(), IsEmpty());
}

}  // namespace
}  // namespace kvsplice
