#include <gmock/gmock.h>
#include <sys/resource.h>

#include <csignal>
#include <filesystem>

#include "core/disk_file.h"
#include "core/file.h"
#include "core/temporary_folder.h"

namespace kvsplice {
namespace {

namespace fs = std::filesystem;

class PosixDiskFile : public testing::Test {
 protected:
  const TemporaryFolder folder_ = TemporaryFolder::create("disk-file-test").value();
  const std::string path_ = folder_.file("file");
};

TEST_F(PosixDiskFile, DirectoriesAreNamed) {
  EXPECT_THAT(DiskFile::open(folder_.path()).error().message,
              testing::HasSubstr("not a regular file"));
}

// A limit on the size of files stands for a disk without room.
TEST_F(PosixDiskFile, WithoutRoomWritingIsAnErrorAndTheSizeStaysTrue) {
  ASSERT_TRUE(write_file(path_, Bytes{1, 2, 3, 4, 5}).ok());
  auto file = DiskFile::extend(path_).value();
  rlimit before;
  ASSERT_EQ(getrlimit(RLIMIT_FSIZE, &before), 0);
  const auto handler = std::signal(SIGXFSZ, SIG_IGN);
  const rlimit tight{8, before.rlim_max};
  setrlimit(RLIMIT_FSIZE, &tight);
  const auto written = file.write(5, Bytes(100, 7));
  setrlimit(RLIMIT_FSIZE, &before);
  std::signal(SIGXFSZ, handler);
  ASSERT_FALSE(written.ok());
  EXPECT_EQ(written.error().kind, ErrorKind::io);
  EXPECT_EQ(file.size(), fs::file_size(path_));
}

}  // namespace
}  // namespace kvsplice
