// What holds on every system; output_file_posix_test.cc has the rest.
#include "core/output_file.h"

#include <gmock/gmock.h>

#include "core/disk_file.h"
#include "core/file.h"
#include "core/temporary_folder.h"

namespace kvsplice {
namespace {

namespace fs = std::filesystem;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

class OutputFiles : public testing::Test {
 protected:
  std::string file(const std::string& name) const { return (files_ / name).string(); }
  std::vector<std::string> names() const {
    std::vector<std::string> all;
    for (const auto& entry : fs::directory_iterator(files_)) {
      all.push_back(entry.path().filename().string());
    }
    return all;
  }

 private:
  const TemporaryFolder folder_ = TemporaryFolder::create("output-test").value();
  const fs::path files_ = fs::path(folder_.path()) / "files";
  const bool made_ = fs::create_directory(files_);
};

TEST_F(OutputFiles, AppearWhenTheyArePublished) {
  {
    auto out = OutputFile::reserve(file("x")).value();
    EXPECT_FALSE(fs::exists(file("x")));
    ASSERT_TRUE(write_file(std::move(out), Bytes{1, 2}).ok());
  }
  EXPECT_EQ(read_file(file("x")).value(), (Bytes{1, 2}));
  (void)OutputFile::reserve(file("y")).value();
  EXPECT_THAT(names(), ElementsAre("x")) << "temporaries stayed";
}

TEST_F(OutputFiles, ASecondWriterIsToldAtOnce) {
  const auto fresh = OutputFile::reserve(file("new")).value();
  EXPECT_THAT(OutputFile::reserve(file("new")).error().message, HasSubstr("another program"));
  ASSERT_TRUE(write_text(file("old"), "x").ok());
  auto out = OutputFile::reserve(file("old")).value();
  EXPECT_THAT(OutputFile::reserve(file("old")).error().message, HasSubstr("another program"));
  EXPECT_THAT(DiskFile::extend(file("old")).error().message, HasSubstr("another program"));
  ASSERT_TRUE(write_file(std::move(out), Bytes{'y'}).ok());
  EXPECT_EQ(read_text(file("old")).value(), "y");
  EXPECT_TRUE(DiskFile::extend(file("old")).ok());
}

TEST_F(OutputFiles, AFileThatIsBeingExtendedCanBeWrittenAnew) {
  ASSERT_TRUE(write_file(file("x"), Bytes{1, 2}).ok());
  {
    const auto extended = DiskFile::extend(file("x")).value();
    auto anew = extended.replacement().value();
    ASSERT_TRUE(write_file(std::move(anew), Bytes{3}).ok());
  }
  EXPECT_EQ(read_file(file("x")).value(), Bytes{3});
  EXPECT_THAT(names(), ElementsAre("x"));
}

TEST_F(OutputFiles, ADashIsNoName) {
  const auto refused = OutputFile::reserve("-");
  ASSERT_FALSE(refused.ok());
  EXPECT_NE(refused.error().message.find("/dev/stdout"), std::string::npos);
}

TEST_F(OutputFiles, UnnamedFilesLeaveNothing) {
  {
    const auto unnamed = unnamed_file().value();
    ASSERT_TRUE(write_all(unnamed.get(), Bytes{1, 2, 3}, "it").ok());
    ASSERT_TRUE(os::rewind(unnamed.get()));
    Bytes back(4);
    EXPECT_EQ(read_up_to(unnamed.get(), back.data(), back.size(), "it").value(), 3u);
  }
  EXPECT_THAT(names(), IsEmpty());
}

TEST_F(OutputFiles, TemporaryFoldersGo) {
  std::string path;
  {
    const auto folder = TemporaryFolder::create("x", file("")).value();
    path = folder.path();
    ASSERT_TRUE(write_text(folder.file("a"), "text").ok());
    EXPECT_TRUE(fs::exists(TemporaryFolder::create("x", file("")).value().file("")));
    EXPECT_TRUE(fs::exists(path)) << "it was taken for left over";
  }
  EXPECT_FALSE(fs::exists(path));
}

}  // namespace
}  // namespace kvsplice
