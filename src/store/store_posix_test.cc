// Several programs and threads in one store, programs that are killed, and disks that refuse.
#include <gmock/gmock.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <filesystem>
#include <thread>

#include "core/file.h"
#include "core/random.h"
#include "core/temporary_folder.h"
#include "store/store.h"
#include "store/store_objects_test.h"

namespace kvsplice::store {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;
using testing::IsEmpty;

class Neighbours : public testing::Test {
 protected:
  Store open(const Limits& limits = {}) const {
    auto store = Store::open(path_, limits);
    EXPECT_TRUE(store.ok()) << (store.ok() ? "" : store.error().message);
    return std::move(*store);
  }
  size_t files_below(const std::string& name) const {
    size_t n = 0;
    for (const auto& e : fs::recursive_directory_iterator(fs::path(path_) / name)) {
      n += e.is_regular_file();
    }
    return n;
  }
  // Texts that begin alike, and cells that take a while to write.
  static std::vector<int32_t> conversation(int32_t number) {
    auto tokens = text(0, 8);
    const auto more = text(1000 * (number + 1), 14);
    tokens.insert(tokens.end(), more.begin(), more.end());
    return tokens;
  }
  static Result<> put_all(Store& store, int32_t number, size_t bytes) {
    for (const Object& o : objects_of(root_named(store.key()), conversation(number), bytes)) {
      KVS_TRY(store.put(o));
    }
    return {};
  }
  static void expect_whole(const Store& store) {
    const auto verified = store.verify(false, {}).value();
    EXPECT_THAT(verified.damaged, IsEmpty());
    const auto entries = store.entries().value();
    for (const Entry& e : entries) {
      const auto object = store.get(e.head.own);
      ASSERT_TRUE(object.ok()) << object.error().message;
      EXPECT_EQ(object->cells, cells_of(object->tokens, object->cells.size()));
    }
  }

  const TemporaryFolder folder_ = TemporaryFolder::create("store-posix-test").value();
  const std::string path_ = folder_.file("store");
};

TEST_F(Neighbours, TwoStoresAndManyThreadsWriteAndReadAtOnce) {
  Store one = open(), two = open();
  std::vector<std::thread> threads;
  for (int32_t t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      Store& store = t % 2 ? one : two;
      for (int32_t i = 0; i < 6; ++i) {
        EXPECT_TRUE(put_all(store, (t / 2 + i) % 6, 2000).ok());
        const auto match =
            store.find(root_named(store.key()), conversation((t / 2 + i) % 6), kBlock).value();
        EXPECT_EQ(match.tokens, 22u);
        store.touch(match);
        EXPECT_TRUE(store.get(*match.behind).ok());
      }
    });
  }
  for (auto& t : threads) t.join();
  EXPECT_EQ(one.totals()->objects, 2 + 6 * 4u);
  EXPECT_EQ(files_below("objects"), 26u);
  expect_whole(two);
}

TEST_F(Neighbours, ManyOpenAStoreThatIsNotThereYet) {
  std::vector<std::thread> threads;
  std::vector<std::string> keys(6);
  for (std::string& key : keys) {
    threads.emplace_back([&] { key = open().key().fingerprint(); });
  }
  for (auto& t : threads) t.join();
  EXPECT_THAT(keys, testing::Each(open().key().fingerprint()));
}

// Those who drop what others read cost a prefill, and nothing else.
TEST_F(Neighbours, EvictionUnderOthersHarmsNobody) {
  const Limits small{60'000, 0};
  std::vector<std::thread> threads;
  for (int32_t t = 0; t < 3; ++t) {
    threads.emplace_back([&, t] {
      Store store = open(small);
      for (int32_t i = 0; i < 15; ++i) {
        // What lies behind what another has dropped meanwhile may not fit.
        const auto done = put_all(store, 20 * t + i, 4000);
        EXPECT_TRUE(done.ok() || done.error().kind == ErrorKind::io);
        EXPECT_TRUE(store.find(root_named(store.key()), conversation(i), kBlock).ok());
      }
    });
  }
  for (auto& t : threads) t.join();
  Store store = open(small);
  ASSERT_TRUE(store.collect().ok());
  EXPECT_LE(store.totals()->bytes, small.bytes);
  EXPECT_GT(store.totals()->objects, 5u);
  expect_whole(store);
}

TEST_F(Neighbours, AnIndexThatAnotherMakesAnewIsTakenOver) {
  Store one = open(), two = open();
  ASSERT_TRUE(put_all(one, 0, 100).ok());
  fs::remove(fs::path(path_) / "index.sqlite");
  ASSERT_TRUE(put_all(two, 1, 100).ok());  // makes it
  ASSERT_TRUE(put_all(one, 2, 100).ok());
  EXPECT_EQ(one.totals()->objects, 2 + 3 * 4u);
  EXPECT_EQ(two.totals()->objects, 2 + 3 * 4u);
}

// --- killed --------------------------------------------------------------------------------------

class Killed : public Neighbours {
 protected:
  // Writes conversations for as long as it lives; some of them are dropped again.
  pid_t begin_writer(int32_t first) const {
    const pid_t child = ::fork();
    if (child != 0) return child;
    auto store = Store::open(path_, {2'000'000, 0});
    for (int32_t i = first; store.ok(); ++i) {
      if (!put_all(*store, i, 60'000).ok()) break;
    }
    ::_exit(1);
  }
};

TEST_F(Killed, AtAnyMomentTheStoreIsSoundAfterwards) {
  Random random(7);
  { open(); }
  size_t grown = 0;
  for (int32_t round = 0; round < 25; ++round) {
    // Every third has to make the index first.
    if (round % 3 == 2) fs::remove(fs::path(path_) / "index.sqlite");
    const pid_t writer = begin_writer(100 * round);
    std::this_thread::sleep_for(std::chrono::microseconds(random.below(60'000)));
    ::kill(writer, SIGKILL);
    int status = 0;
    ASSERT_EQ(::waitpid(writer, &status, 0), writer);
    ASSERT_TRUE(WIFSIGNALED(status)) << "it gave up by itself";
    Store store = open({2'000'000, 0});
    expect_whole(store);
    ASSERT_TRUE(store.collect().ok());
    EXPECT_EQ(store.totals()->objects, files_below("objects"));
    EXPECT_LE(store.totals()->bytes, 2'000'000u);
    EXPECT_EQ(files_below("tmp"), 1u) << "the mark of this program";
    grown = std::max<size_t>(grown, store.totals()->objects);
  }
  EXPECT_GT(grown, 4u) << "the writers have written";
}

TEST_F(Killed, ItsLeftoversGoThoseOfTheLivingStay) {
  Store living = open();
  const std::string tmp = (fs::path(path_) / "tmp").string();
  std::string own;
  for (const auto& e : fs::directory_iterator(tmp)) own = e.path().string();
  ASSERT_TRUE(write_text(own + "/0", "at work").ok());
  const pid_t child = ::fork();
  if (child == 0) {
    static auto store = Store::open(path_);
    for (const auto& e : fs::directory_iterator(tmp)) {
      if (e.path() != own) (void)write_text(e.path() / "0", "half an obj").ok();
    }
    ::_exit(0);  // nothing is tidied
  }
  ::waitpid(child, nullptr, 0);
  EXPECT_EQ(files_below("tmp"), 4u);
  open();
  EXPECT_EQ(files_below("tmp"), 2u);
  EXPECT_EQ(read_text(own + "/0").value(), "at work");
}

// --- disks that refuse ---------------------------------------------------------------------------

// A limit on the size of files stands for a full disk.
class FullDisk : public Neighbours {
 protected:
  void SetUp() override {
    ::getrlimit(RLIMIT_FSIZE, &before_);
    before_handler_ = std::signal(SIGXFSZ, SIG_IGN);
  }
  void TearDown() override {
    allow(before_.rlim_cur);
    std::signal(SIGXFSZ, before_handler_);
  }
  void allow(rlim_t bytes) const {
    const rlimit limit{bytes, before_.rlim_max};
    ::setrlimit(RLIMIT_FSIZE, &limit);
  }

 private:
  rlimit before_ = {};
  void (*before_handler_)(int) = nullptr;
};

TEST_F(FullDisk, IsAnErrorThatHarmsNothingElse) {
  Store store = open();
  ASSERT_TRUE(put_all(store, 0, 1000).ok());
  const Object large = object_of(root_named(store.key()), root_named(store.key()), 0, {1, 2},
                                 ObjectKind::tail, 3'000'000);
  allow(2'000'000);
  const auto refused = store.put(large);
  EXPECT_EQ(refused.error().kind, ErrorKind::io);
  EXPECT_THAT(refused.error().message, HasSubstr("File too large"));
  EXPECT_FALSE(store.has(large.head.own));
  EXPECT_EQ(files_below("tmp"), 1u);
  EXPECT_EQ(store.totals()->objects, 6u);
  allow(4'000'000);
  EXPECT_TRUE(store.put(large).ok());
  expect_whole(store);
}

// An ordinary user: root may write everywhere.
TEST_F(Neighbours, AFolderThatCannotBeWrittenIsNamed) {
  { open(); }
  ASSERT_TRUE(write_text(folder_.file("file"), "").ok());
  EXPECT_THAT(Store::open(folder_.file("file")).error().message, HasSubstr("file: "));
  EXPECT_THAT(Store::open(folder_.file("file/store")).error().message,
              HasSubstr("Not a directory"));
  if (::geteuid() == 0) {
    EXPECT_FALSE(Store::open("/proc/kvsplice").ok());
    return;
  }
  fs::permissions(path_, fs::perms::owner_read | fs::perms::owner_exec);
  EXPECT_THAT(Store::open(path_).error().message, HasSubstr("Permission denied"));
  fs::permissions(path_, fs::perms::owner_all);
}

}  // namespace
}  // namespace kvsplice::store
