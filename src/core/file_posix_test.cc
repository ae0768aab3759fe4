// Of files that only POSIX has: pipes, devices, /proc.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <sys/stat.h>
#include <unistd.h>

#include <thread>

#include "core/file.h"
#include "core/temporary_folder.h"

namespace kvsplice {
namespace {

using ::testing::HasSubstr;

class PosixFile : public ::testing::Test {
 protected:
  const TemporaryFolder folder_ = TemporaryFolder::create("file-test").value();
  const std::filesystem::path dir_ = folder_.path();
};

TEST_F(PosixFile, WhateverCanBeReadIs) {
  EXPECT_THAT(read_text("/proc/version").value(), HasSubstr("Linux"));
  ASSERT_EQ(::mkfifo((dir_ / "pipe").c_str(), 0600), 0);
  const Bytes all(1000000, 3);
  std::thread writer([&] { EXPECT_TRUE(write_file(dir_ / "pipe", all).ok()); });
  EXPECT_EQ(read_file(dir_ / "pipe").value(), all);
  writer.join();
}

TEST_F(PosixFile, WhatNeverEndsIsReadUpToTheLimit) {
  for (const uint64_t most : {1000u, 65536u, 70000u}) {
    const auto read = read_file("/dev/zero", most);
    EXPECT_THAT(read.error().message, HasSubstr(std::to_string(most)));
  }
}

TEST_F(PosixFile, DirectoriesAreNamed) {
  EXPECT_THAT(read_file(dir_).error().message, HasSubstr("Is a directory"));
}

TEST_F(PosixFile, ADashIsTheStandardInput) {
  ASSERT_TRUE(write_text(dir_ / "x", "by stdin").ok());
  const int before = ::dup(STDIN_FILENO), file = ::open((dir_ / "x").c_str(), O_RDONLY);
  ::dup2(file, STDIN_FILENO);
  const auto text = read_text("-");
  ::dup2(before, STDIN_FILENO);
  ::close(before), ::close(file);
  EXPECT_EQ(text.value(), "by stdin");
}

}  // namespace
}  // namespace kvsplice
