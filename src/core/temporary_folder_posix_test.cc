#include <gmock/gmock.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>

#include "core/file.h"
#include "core/temporary_folder.h"

namespace kvsplice {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;

// The tests' folders lie in one of their own, as the system's.
class TemporaryFolderTest : public testing::Test {
 protected:
  TemporaryFolderTest() {
    if (const char* before = std::getenv("TMPDIR")) before_ = before;
    ::setenv("TMPDIR", where_.path().c_str(), 1);
  }
  ~TemporaryFolderTest() override {
    before_.empty() ? ::unsetenv("TMPDIR") : ::setenv("TMPDIR", before_.c_str(), 1);
  }
  TemporaryFolder where_ = TemporaryFolder::create("folder-test").value();

 private:
  std::string before_;
};

TEST_F(TemporaryFolderTest, IsPrivateAndItsOwnAndGoes) {
  std::string path;
  {
    const auto one = TemporaryFolder::create("x").value();
    const auto two = TemporaryFolder::create("x").value();
    path = one.path();
    EXPECT_NE(path, two.path());
    EXPECT_EQ(fs::path(path).parent_path(), where_.path());
    struct stat info {};
    ASSERT_EQ(::stat(path.c_str(), &info), 0);
    EXPECT_EQ(info.st_mode & 0777, 0700u);
    ASSERT_TRUE(write_text(one.file("a"), "text").ok());
  }
  EXPECT_FALSE(fs::exists(path));
}

TEST_F(TemporaryFolderTest, WhatAKilledProgramLeavesIsRemoved) {
  const pid_t child = ::fork();
  if (child == 0) {
    static auto left = TemporaryFolder::create("x");
    (void)write_text(left->file("large"), "rows").ok();
    ::_exit(0);  // nothing is tidied
  }
  ::waitpid(child, nullptr, 0);
  const auto folders = [&] {
    size_t n = 0;
    for (const auto& entry : fs::directory_iterator(where_.path())) n += entry.is_directory();
    return n;
  };
  ASSERT_EQ(folders(), 1u);
  fs::create_directory(where_.file("kvsplice-x-folder"));  // somebody's, of a like name
  const auto other = TemporaryFolder::create("other").value();
  EXPECT_EQ(folders(), 3u);
  const auto next = TemporaryFolder::create("x").value();
  EXPECT_EQ(folders(), 3u) << "that of the killed program is gone, the new one there";
  EXPECT_TRUE(fs::exists(other.path()));
}

TEST_F(TemporaryFolderTest, WithoutAFolderForThemThereIsAnError) {
  ::setenv("TMPDIR", where_.file("missing").c_str(), 1);
  EXPECT_THAT(TemporaryFolder::create("x").error().message, HasSubstr("TMPDIR"));
  EXPECT_FALSE(unnamed_file().ok());
}

TEST_F(TemporaryFolderTest, UnnamedFilesLeaveNothing) {
  const auto file = unnamed_file().value();
  ASSERT_TRUE(write_all(file.get(), Bytes{1, 2}, "it").ok());
  EXPECT_EQ(::lseek(file.get(), 0, SEEK_CUR), 2);
  EXPECT_EQ(std::distance(fs::directory_iterator(where_.path()), {}), 1) << "the folder's mark";
}

}  // namespace
}  // namespace kvsplice
