#include <fcntl.h>
#include <gmock/gmock.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <future>
#include <thread>

#include "core/disk_file.h"
#include "core/file.h"
#include "core/output_file.h"
#include "core/temporary_folder.h"

namespace kvsplice {
namespace {

namespace fs = std::filesystem;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::StartsWith;

class OutputFileTest : public testing::Test {
 protected:
  OutputFileTest() : before_(::umask(022)) {}
  ~OutputFileTest() override { ::umask(before_); }

  std::string folder() const { return folder_.path(); }
  std::string file(const std::string& name) const { return folder_.file(name); }
  std::vector<std::string> names() const {
    std::vector<std::string> all;
    for (const auto& entry : fs::directory_iterator(folder_.path())) {
      const std::string name = entry.path().filename();
      if (name != ".kvsplice-temporary") all.push_back(name);
    }
    std::sort(all.begin(), all.end());
    return all;
  }
  std::string said(const std::string& path) const {
    const auto out = OutputFile::reserve(path);
    return out.ok() ? "reserved" : out.error().message;
  }
  mode_t mode(const std::string& path) const {
    struct stat info {};
    return ::stat(path.c_str(), &info) == 0 ? info.st_mode & 07777 : 0;
  }

 private:
  TemporaryFolder folder_ = TemporaryFolder::create("output-test").value();
  mode_t before_;
};

// Another process, as a second user of the same file would be. It runs until it is let go.
class Neighbour {
 public:
  explicit Neighbour(const std::function<void()>& begin) {
    int ready[2], wait[2];
    EXPECT_EQ(::pipe(ready), 0);
    EXPECT_EQ(::pipe(wait), 0);
    child_ = ::fork();
    if (child_ == 0) {
      ::close(wait[1]);
      begin();
      char byte = 0;
      (void)!::write(ready[1], &byte, 1);
      (void)!::read(wait[0], &byte, 1);  // until the other end is closed
      ::_exit(0);
    }
    ::close(wait[0]);
    ::close(ready[1]);
    go_ = wait[1];
    char byte = 0;
    EXPECT_EQ(::read(ready[0], &byte, 1), 1);
    ::close(ready[0]);
  }
  void kill() { ::kill(child_, SIGKILL), wait(); }
  ~Neighbour() {
    ::close(go_);
    if (child_ > 0) wait();
  }

 private:
  void wait() { ::waitpid(child_, nullptr, 0), child_ = -1; }
  pid_t child_;
  int go_;
};

TEST_F(OutputFileTest, NothingChangesUntilItIsPublished) {
  ASSERT_TRUE(write_text(file("x"), "old").ok());
  {
    const OutputFile out = OutputFile::reserve(file("x")).value();
    ASSERT_TRUE(write_all(out.fd(), Bytes{1, 2}, "x").ok());
    EXPECT_EQ(read_text(file("x")).value(), "old");
  }
  EXPECT_THAT(names(), ElementsAre("x"));
  EXPECT_EQ(read_text(file("x")).value(), "old");
  ASSERT_TRUE(write_text(file("x"), "new").ok());
  EXPECT_THAT(names(), ElementsAre("x"));
  EXPECT_EQ(read_text(file("x")).value(), "new");
}

TEST_F(OutputFileTest, WhatCannotBeWrittenIsSaidAtOnce) {
  ASSERT_TRUE(write_text(file("plain"), "").ok());
  EXPECT_THAT(said(file("no/such/x")), HasSubstr("No such file"));
  EXPECT_THAT(said(file("plain") + "/x"), HasSubstr("Not a directory"));
  EXPECT_THAT(said(file("")), HasSubstr("it is a directory"));
  EXPECT_THAT(said(file("new/")), HasSubstr("this names no file"));
  EXPECT_THAT(said(""), HasSubstr("this names no file"));
  EXPECT_THAT(said(file(std::string(256, 'n'))), HasSubstr("File name too long"));
  EXPECT_THAT(names(), ElementsAre("plain"));
}

// Nothing is protected from root, who becomes nobody for the length of a scope. Other users stay
// who they are.
class WithoutPrivileges {
 public:
  // The folder is handed over, so that only what a test protects is out of reach.
  explicit WithoutPrivileges(const std::string& folder) : root_(::geteuid() == 0) {
    if (!root_) return;
    constexpr uid_t kNobody = 65534;
    EXPECT_EQ(::chown(folder.c_str(), kNobody, kNobody), 0);
    EXPECT_EQ(::seteuid(kNobody), 0);
  }
  ~WithoutPrivileges() {
    if (!root_) return;
    EXPECT_EQ(::seteuid(0), 0);
  }
  WithoutPrivileges(const WithoutPrivileges&) = delete;
  WithoutPrivileges& operator=(const WithoutPrivileges&) = delete;

 private:
  bool root_;
};

TEST_F(OutputFileTest, ProtectedFilesAndFoldersAreSaidAtOnce) {
  const WithoutPrivileges here(folder());
  ASSERT_TRUE(write_text(file("x"), "kept").ok());
  ::chmod(file("x").c_str(), 0400);
  EXPECT_THAT(said(file("x")), HasSubstr("Permission denied"));
  fs::create_directory(file("closed"));
  ::chmod(file("closed").c_str(), 0500);
  EXPECT_THAT(said(file("closed/x")), HasSubstr("Permission denied"));
}

TEST_F(OutputFileTest, SocketsAreRefusedByName) {
  sockaddr_un address{AF_UNIX, {}};
  ASSERT_LT(file("socket").size(), sizeof address.sun_path);
  file("socket").copy(address.sun_path, sizeof address.sun_path - 1);
  const Descriptor socket(::socket(AF_UNIX, SOCK_STREAM, 0));
  ASSERT_EQ(::bind(socket.get(), reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
  EXPECT_THAT(said(file("socket")), HasSubstr("it is a socket"));
}

TEST_F(OutputFileTest, NamesOfEveryLegalLengthCanBeWritten) {
  for (size_t length : {1u, 100u, 200u, 250u, 255u}) {
    const std::string name(length, 'x');
    ASSERT_TRUE(write_text(file(name), "a").ok()) << length;
    ASSERT_TRUE(write_text(file(name), "b").ok()) << length;
    EXPECT_EQ(read_text(file(name)).value(), "b");
  }
  EXPECT_EQ(names().size(), 5u);
}

TEST_F(OutputFileTest, OfALinkTheFileItNamesIsReplaced) {
  fs::create_directory(file("far"));
  ASSERT_TRUE(write_text(file("far/real"), "old").ok());
  fs::create_symlink("far/real", file("link"));
  fs::create_symlink(file("link"), file("second"));  // one absolute, one relative
  ASSERT_TRUE(write_text(file("second"), "new").ok());
  EXPECT_TRUE(fs::is_symlink(file("link")) && fs::is_symlink(file("second")));
  EXPECT_EQ(read_text(file("far/real")).value(), "new");

  fs::create_symlink("far/later", file("dangling"));
  ASSERT_TRUE(write_text(file("dangling"), "made").ok());
  EXPECT_EQ(read_text(file("far/later")).value(), "made");

  fs::create_symlink("circle", file("circle"));
  EXPECT_THAT(said(file("circle")), HasSubstr("Too many levels"));
  fs::create_symlink("nowhere/x", file("lost"));
  EXPECT_THAT(said(file("lost")), HasSubstr("No such file"));
}

TEST_F(OutputFileTest, TheModeOfTheReplacedIsKept) {
  ASSERT_TRUE(write_file(file("private"), Bytes{1}, Readers::owner).ok());
  EXPECT_EQ(mode(file("private")), 0600u);
  ASSERT_TRUE(write_file(file("open"), Bytes{1}).ok());
  EXPECT_EQ(mode(file("open")), 0644u);
  for (mode_t kept : {0600u, 0640u, 0666u, 0755u}) {
    ::chmod(file("open").c_str(), kept);
    ASSERT_TRUE(write_file(file("open"), Bytes{2}).ok());
    EXPECT_EQ(mode(file("open")), kept);
  }
  const OutputFile out = OutputFile::reserve(file("private")).value();
  for (const std::string& name : names()) {
    if (!name.starts_with(".kvs-")) continue;
    EXPECT_EQ(mode(file(name)), 0600u) << "while it is written";
  }
}

TEST_F(OutputFileTest, ACopyHasTheModeOfTheOriginal) {
  ASSERT_TRUE(write_text(file("a"), "text").ok());
  ::chmod(file("a").c_str(), 0640);
  const DiskFile original = DiskFile::open(file("a")).value();
  ASSERT_TRUE(original.reserve_copy(file("b")).value().publish().ok());
  EXPECT_EQ(mode(file("b")), 0640u);
  ::chmod(file("b").c_str(), 0600);
  ASSERT_TRUE(original.reserve_copy(file("b")).value().publish().ok());
  EXPECT_EQ(mode(file("b")), 0600u) << "but that of a file which was there stays";
}

TEST_F(OutputFileTest, AFifoIsWrittenThrough) {
  const std::string fifo = file("fifo");
  ASSERT_EQ(::mkfifo(fifo.c_str(), 0600), 0);
  const Bytes all(300000, 7);  // more than a pipe holds
  auto read = std::async(std::launch::async, [&] { return read_file(fifo); });
  ASSERT_TRUE(write_file(fifo, all).ok());
  EXPECT_EQ(read.get().value(), all);
  EXPECT_TRUE(fs::is_fifo(fifo));
  EXPECT_THAT(names(), ElementsAre("fifo"));
}

TEST_F(OutputFileTest, ADeviceIsWrittenThrough) {
  if (!fs::is_character_file("/dev/full"))
    GTEST_SKIP() << "this system, perhaps a container, has no /dev/full, the disk without room";
  fs::create_symlink("/dev/full", file("full"));  // never by its own name: a mistake would hurt
  EXPECT_THAT(write_text(file("full"), "x").error().message, HasSubstr("No space left"));
  EXPECT_TRUE(fs::is_character_file("/dev/full"));
}

TEST_F(OutputFileTest, OpenDescriptorsAreWrittenWhereTheyStand) {
  const Descriptor log(::open(file("log").c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
  ASSERT_TRUE(write_all(log.get(), Bytes{'a'}, "log").ok());
  ASSERT_TRUE(write_text("/dev/fd/" + std::to_string(log.get()), "b").ok());
  ASSERT_TRUE(write_all(log.get(), Bytes{'c'}, "log").ok());
  EXPECT_EQ(read_text(file("log")).value(), "abc");
  const Descriptor closed(::open(file("log").c_str(), O_RDONLY | O_CLOEXEC));
  EXPECT_THAT(said("/proc/self/fd/" + std::to_string(closed.get())), HasSubstr("read only"));
  EXPECT_THAT(said("/dev/fd/999"), HasSubstr("Bad file descriptor"));
}

TEST_F(OutputFileTest, ASecondWriterIsToldAtOnce) {
  for (const char* name : {"new", "old"}) {
    if (name == std::string("old")) {
      ASSERT_TRUE(write_text(file(name), "old").ok());
    }
    const Neighbour other([&] {
      static auto kept = OutputFile::reserve(file(name));
      if (!kept.ok()) ::_exit(1);
    });
    EXPECT_THAT(said(file(name)), HasSubstr("another program writes to it"));
    EXPECT_EQ(said(file("different")), "reserved");
  }
  EXPECT_EQ(said(file("new")), "reserved") << "the other has ended";
}

TEST_F(OutputFileTest, WritersAndExtendersKeepEachOtherOut) {
  ASSERT_TRUE(write_text(file("x"), "old").ok());
  {
    const auto extending = DiskFile::extend(file("x")).value();
    EXPECT_THAT(said(file("x")), HasSubstr("another program writes to it"));
    EXPECT_TRUE(extending.replacement().ok()) << "who holds the lock may";
  }
  const auto writing = OutputFile::reserve(file("x")).value();
  EXPECT_THAT(DiskFile::extend(file("x")).error().message, HasSubstr("another program writes"));
}

TEST_F(OutputFileTest, OneOfManyThatBeginAtOnceMayWrite) {
  for (int round = 0; round < 5; ++round) {
    std::atomic<int> reserved{0};
    std::vector<std::thread> threads;
    std::vector<std::optional<OutputFile>> kept(6);
    for (size_t i = 0; i < kept.size(); ++i) {
      threads.emplace_back([&, i] {
        auto out = OutputFile::reserve(file("x"));
        if (!out.ok()) return;
        ++reserved;
        kept[i] = std::move(out).value();
      });
    }
    for (auto& t : threads) t.join();
    EXPECT_LE(reserved, 1);
    kept.clear();
    EXPECT_THAT(names(), IsEmpty());
  }
}

TEST_F(OutputFileTest, WhatAKilledWriterLeavesTheNextOneRemoves) {
  Neighbour other([&] {
    static auto kept = OutputFile::reserve(file("x"));
    static auto different = OutputFile::reserve(file("y"));
    if (!kept.ok() || !different.ok()) ::_exit(1);
  });
  other.kill();
  EXPECT_EQ(names().size(), 2u);
  ASSERT_TRUE(write_text(file("x"), "new").ok());
  EXPECT_THAT(names(), ElementsAre(StartsWith(".kvs-"), "x")) << "what belongs to y is y's";
}

TEST_F(OutputFileTest, WhatAnotherHasPutThereMeanwhileStays) {
  for (const bool existed : {false, true}) {
    if (existed) {
      ASSERT_TRUE(write_text(file("x"), "old").ok());
    }
    OutputFile out = OutputFile::reserve(file("x")).value();
    ASSERT_TRUE(write_all(out.fd(), Bytes{'m', 'e'}, "x").ok());
    ASSERT_TRUE(write_text(file("other"), "theirs").ok());
    fs::rename(file("other"), file("x"));  // without asking
    const auto published = out.publish();
    ASSERT_FALSE(published.ok());
    EXPECT_EQ(read_text(file("x")).value(), "theirs");
    const std::string message = published.error().message;
    EXPECT_THAT(message, HasSubstr("replaced by another program"));
    const std::string kept = message.substr(message.rfind(' ') + 1);
    EXPECT_EQ(read_text(kept).value(), "me") << "nor is ours lost";
    fs::remove(kept);
    fs::remove(file("x"));
  }
}

TEST_F(OutputFileTest, AfterPublishingTheLockStays) {
  DiskFile out = DiskFile::replace(OutputFile::reserve(file("x")).value());
  ASSERT_TRUE(out.write(0, Bytes{1}).ok());
  ASSERT_TRUE(out.publish().ok());
  EXPECT_THAT(said(file("x")), HasSubstr("another program writes to it"));
  ASSERT_TRUE(out.write(1, Bytes{2}).ok());
  ASSERT_TRUE(out.publish().ok());
  EXPECT_EQ(read_file(file("x")).value(), (Bytes{1, 2}));
  fs::rename(file("x"), file("y"));
  EXPECT_THAT(out.publish().error().message, HasSubstr("replaced by another program"));
}

}  // namespace
}  // namespace kvsplice
