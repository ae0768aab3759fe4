#include "store/store.h"

#include <gmock/gmock.h>
#include <sys/stat.h>

#include <filesystem>

#include "core/file.h"
#include "core/temporary_folder.h"
#include "store/sqlite.h"
#include "store/store_objects_test.h"

namespace kvsplice::store {
namespace {

namespace fs = std::filesystem;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::SizeIs;
using testing::UnorderedElementsAre;

constexpr uint64_t kSealedBlock = 216 + kBlock * 4 + 16 + 100 + 16;  // bytes

class StoreTest : public testing::Test {
 protected:
  std::string at(const std::string& name) const { return (fs::path(path_) / name).string(); }
  std::string file_of(const Hash& own) const {
    return at("objects/" + own.hex().substr(0, 2) + "/" + own.hex() + ".kvo");
  }
  Store open(const Limits& limits = {}) const {
    auto store = Store::open(path_, limits);
    EXPECT_TRUE(store.ok()) << (store.ok() ? "" : store.error().message);
    return std::move(*store);
  }
  Hash root(const Store& store) const { return root_named(store.key()); }

  // The blocks and the tail of a text; their names.
  std::vector<Hash> put(Store& store, std::span<const int32_t> tokens,
                        bool answered = false) const {
    std::vector<Hash> names;
    for (Object& object : objects_of(root(store), tokens)) {
      object.head.answered = answered;
      const auto done = store.put(object);
      EXPECT_TRUE(done.ok()) << (done.ok() ? "" : done.error().message);
      names.push_back(object.head.own);
    }
    return names;
  }
  size_t matched(const Store& store, std::span<const int32_t> tokens) const {
    return store.find(root(store), tokens, kBlock).value().tokens;
  }
  // As if it had been used at that time only.
  void used_at(const Hash& own, uint64_t when) const {
    auto database = Database::open(at("index.sqlite"), Database::Mode::existing).value();
    auto update = database.prepare("UPDATE objects SET used = ? WHERE own = ?").value();
    ASSERT_TRUE(update.with(when).with(own).run().ok());
  }
  void flip(const std::string& file, size_t byte) const {
    Bytes bytes = read_file(file).value();
    bytes.at(byte) ^= 1;
    ASSERT_TRUE(write_file(file, bytes).ok());
  }
  std::vector<std::string> names_in(const std::string& folder) const {
    std::vector<std::string> names;
    for (const auto& e : fs::directory_iterator(at(folder))) names.push_back(e.path().filename());
    return names;
  }

  const TemporaryFolder folder_ = TemporaryFolder::create("store-test").value();
  const std::string path_ = folder_.file("deep/store");
};

TEST_F(StoreTest, KeepsObjects) {
  Store store = open();
  const auto objects = objects_of(root(store), text(0, 10));
  for (const Object& object : objects) {
    EXPECT_FALSE(store.has(object.head.own));
    ASSERT_TRUE(store.put(object).ok());
    EXPECT_TRUE(store.has(object.head.own));
    ASSERT_TRUE(store.put(object).ok()) << "twice";
  }
  for (const Object& object : objects) {
    const Object back = store.get(object.head.own).value();
    EXPECT_EQ(back.head, object.head);
    EXPECT_EQ(back.tokens, object.tokens);
    EXPECT_EQ(back.cells, object.cells);
  }
  EXPECT_EQ(store.totals()->objects, 3u);
  EXPECT_EQ(store.totals()->tokens, 10u);
  EXPECT_EQ(store.totals()->bytes, 3 * kSealedBlock - 2 * 4);
  EXPECT_EQ(store.get(root(store)).error().kind, ErrorKind::io);
  const Store again = open();
  EXPECT_EQ(again.get(objects[2].head.own)->cells, objects[2].cells);
  EXPECT_EQ(again.key().fingerprint(), store.key().fingerprint());
}

TEST_F(StoreTest, IsClosedToOthers) {
  Store store = open();
  const auto names = put(store, text(0, 4));
  const auto mode = [](const std::string& path) {
    struct stat info {};
    return ::stat(path.c_str(), &info) == 0 ? info.st_mode & 0777 : 0;
  };
  for (const char* folder : {"", "objects", "tmp"}) EXPECT_EQ(mode(at(folder)), 0700u) << folder;
  EXPECT_EQ(mode(file_of(names[0])), 0600u);
  EXPECT_EQ(mode(fs::path(file_of(names[0])).parent_path()), 0700u);
  for (const char* file : {"key", "index.sqlite", "lock"}) EXPECT_EQ(mode(at(file)), 0600u) << file;
  const std::string slash = folder_.file("other/");
  ASSERT_TRUE(Store::open(slash).ok());
  EXPECT_EQ(mode(slash), 0700u);
}

// No token and no cell stands in any file.
TEST_F(StoreTest, HoldsNothingReadable) {
  Store store = open();
  const std::vector<int32_t> tokens(8, 0x41424344);
  put(store, tokens);
  const Bytes word = {0x44, 0x43, 0x42, 0x41};
  size_t files = 0;
  for (const auto& e : fs::recursive_directory_iterator(path_)) {
    if (!e.is_regular_file()) continue;
    ++files;
    const Bytes bytes = read_file(e.path()).value();
    EXPECT_EQ(std::search(bytes.begin(), bytes.end(), word.begin(), word.end()), bytes.end())
        << e.path();
  }
  EXPECT_GE(files, 4u);
}

// --- finding -------------------------------------------------------------------------------------

TEST_F(StoreTest, MatchesToTheToken) {
  Store store = open();
  const auto tokens = text(0, 11);  // two blocks, a tail of three
  const auto names = put(store, tokens);
  for (size_t n = 0; n <= tokens.size(); ++n) {
    const Match match = store.find(root(store), std::span(tokens).first(n), kBlock).value();
    EXPECT_EQ(match.tokens, n);
    EXPECT_THAT(match.blocks, SizeIs(n / kBlock));
    EXPECT_EQ(match.behind.has_value(), n % kBlock != 0) << n;
    if (match.behind) {
      EXPECT_EQ(*match.behind, names[n / kBlock]);
    }
  }
  auto longer = tokens;
  longer.push_back(99);
  EXPECT_EQ(matched(store, longer), 11u);
  for (size_t wrong = 0; wrong < tokens.size(); ++wrong) {
    auto other = tokens;
    other[wrong] = -1;
    EXPECT_EQ(matched(store, other), wrong);
  }
  EXPECT_EQ(store.find(root(store), tokens, 0).error().kind, ErrorKind::usage);
}

TEST_F(StoreTest, WhatAConversationWasBeforeItGrewGoes) {
  Store store = open();
  const auto tail = put(store, text(0, kBlock + 2)).back();
  auto other = text(0, kBlock + 2);
  other.back() = 77;
  const auto beside = put(store, other).back();
  const auto pinned = put(store, text(0, kBlock + 1)).back();
  ASSERT_TRUE(store.has(tail) && store.has(beside) && store.has(pinned));
  ASSERT_TRUE(store.pin(pinned, true).ok());
  put(store, text(0, kBlock + 3));
  EXPECT_FALSE(store.has(tail));
  EXPECT_TRUE(store.has(beside)) << "of other tokens";
  EXPECT_TRUE(store.has(pinned));
  put(store, text(0, 2 * kBlock));  // the tail has become a block
  EXPECT_EQ(store.totals()->tails, 2u) << "the one beside and the one pinned";
}

TEST_F(StoreTest, OfBranchesTheLongestSharedRunWins) {
  Store store = open();
  const auto shared = text(0, kBlock);
  const auto with = [&](std::vector<int32_t> more) {
    auto all = shared;
    all.insert(all.end(), more.begin(), more.end());
    return all;
  };
  const auto one = put(store, with({50, 51})), two = put(store, with({50, 52, 53})),
             three = put(store, with({50, 52, 54, 55, 56}));
  const Match match = store.find(root(store), with({50, 52, 54, 9, 9, 9}), kBlock).value();
  EXPECT_EQ(match.tokens, kBlock + 3);
  EXPECT_EQ(match.behind, three[1]);
  EXPECT_EQ(store.find(root(store), with({50, 52, 53, 54}), kBlock)->behind, two[1]);
  EXPECT_EQ(store.find(root(store), with({50, 51, 53}), kBlock)->behind, one[1]);
  EXPECT_FALSE(store.find(root(store), with({7}), kBlock)->behind.has_value());
  EXPECT_EQ(store.totals()->objects, 5u) << "the shared block is one";
}

TEST_F(StoreTest, LooksAtTheChildrenUsedLast) {
  Store store = open();
  for (int32_t i = 0; i < 70; ++i) {
    const auto names = put(store, std::vector<int32_t>{100 + i, 5});
    used_at(names[0], uint64_t(1000 + i));
  }
  EXPECT_EQ(matched(store, std::vector<int32_t>{169, 5}), 2u);
  EXPECT_EQ(matched(store, std::vector<int32_t>{106, 5}), 2u);
  EXPECT_EQ(matched(store, std::vector<int32_t>{105, 5}), 0u) << "the 65th";
}

TEST_F(StoreTest, TenantsDoNotShare) {
  Store store = open();
  put(store, text(0, 8));
  const Hash other = root_named(store.key(), "alice");
  EXPECT_EQ(store.find(other, text(0, 8), kBlock)->tokens, 0u);
}

TEST_F(StoreTest, WhatIsGoneOrDamagedEndsTheMatchAndIsForgotten) {
  for (const bool gone : {true, false}) {
    Store store = open();
    const auto tokens = text(0, 14);
    const auto names = put(store, tokens);
    if (gone) {
      fs::remove(file_of(names[1]));
    } else {
      flip(file_of(names[1]), 220);  // in the tokens
    }
    EXPECT_EQ(matched(store, tokens), kBlock);
    EXPECT_FALSE(store.has(names[1]));
    EXPECT_FALSE(fs::exists(file_of(names[1])));
    EXPECT_EQ(store.totals()->objects, 3u);
    put(store, tokens);
    EXPECT_EQ(matched(store, tokens), tokens.size()) << "and can come back";
    flip(file_of(names[3]), 220);
    EXPECT_EQ(matched(store, tokens), 12u);
    EXPECT_FALSE(store.has(names[3]));
  }
}

TEST_F(StoreTest, DamagedCellsAreForgottenWhenTheyAreRead) {
  Store store = open();
  const auto tokens = text(0, 8);
  const auto names = put(store, tokens);
  flip(file_of(names[1]), kSealedBlock - 30);
  EXPECT_EQ(matched(store, tokens), 8u);
  EXPECT_EQ(store.get(names[1]).error().kind, ErrorKind::mismatch);
  EXPECT_THAT(store.get(names[1]).error().message, HasSubstr("No such file"));
  EXPECT_EQ(matched(store, tokens), 4u);
}

TEST_F(StoreTest, AnObjectOfAnotherKeyIsNotUsed) {
  Store store = open();
  const auto tokens = text(0, 4);
  const auto planted = objects_of(root(store), tokens)[0];  // of the right name
  const auto names = put(store, tokens);
  ASSERT_TRUE(write_file(file_of(names[0]), seal(planted, key_of(9)).value()).ok());
  EXPECT_EQ(matched(store, tokens), 0u);
  EXPECT_FALSE(store.has(names[0]));
}

// --- limits --------------------------------------------------------------------------------------

TEST_F(StoreTest, IsCutToItsLimitByWhatIsUnusedForLongest) {
  Store store = open({4 * kSealedBlock, 0});
  const auto old = put(store, text(0, 8)), young = put(store, text(100, 8));
  for (const Hash& h : old) used_at(h, 1000);
  for (const Hash& h : young) used_at(h, 2000);
  put(store, text(200, 4));
  EXPECT_FALSE(store.has(old[1])) << "the leaf first";
  EXPECT_TRUE(store.has(old[0]));
  put(store, text(300, 4));
  EXPECT_FALSE(store.has(old[0]));
  put(store, text(400, 4));
  EXPECT_FALSE(store.has(young[1]));
  EXPECT_TRUE(store.has(young[0]));
  EXPECT_EQ(store.totals()->bytes, 4 * kSealedBlock);
}

TEST_F(StoreTest, AnswersGoBeforePrompts) {
  Store store = open({3 * kSealedBlock, 0});
  const auto prompt = put(store, text(0, 4)), answer = put(store, text(100, 4), true);
  const auto other = put(store, text(200, 4));
  used_at(prompt[0], 1000);
  used_at(other[0], 2000);
  used_at(answer[0], 3000);
  put(store, text(300, 4));
  EXPECT_FALSE(store.has(answer[0]));
  EXPECT_TRUE(store.has(prompt[0]) && store.has(other[0]));
}

TEST_F(StoreTest, WhatIsNewStaysEvenAnAnswer) {
  Store store = open({2 * kSealedBlock, 0});
  const auto a = put(store, text(0, 4)), b = put(store, text(100, 4));
  used_at(a[0], 2000);
  used_at(b[0], 1000);
  const auto answer = put(store, text(200, 4), true);
  EXPECT_TRUE(store.has(answer[0]) && store.has(a[0]));
  EXPECT_FALSE(store.has(b[0]));
}

TEST_F(StoreTest, UseKeepsAnObjectAndItsAncestors) {
  Store store = open({4 * kSealedBlock, 0});
  const auto a = put(store, text(0, 8)), b = put(store, text(100, 8));
  for (const Hash& h : a) used_at(h, 1000);
  for (const Hash& h : b) used_at(h, 2000);
  store.touch(store.find(root(store), text(0, 8), kBlock).value());
  put(store, text(200, 8));
  EXPECT_TRUE(store.has(a[0]) && store.has(a[1]));
  EXPECT_FALSE(store.has(b[0]) || store.has(b[1]));
}

TEST_F(StoreTest, WhatIsPinnedStaysWithItsAncestors) {
  Store store = open({3 * kSealedBlock, 0});
  const auto kept = put(store, text(0, 8));
  for (const Hash& h : kept) used_at(h, 1000);
  ASSERT_TRUE(store.pin(kept[1], true).ok());
  for (int32_t i = 1; i < 5; ++i) put(store, text(100 * i, 4));
  EXPECT_TRUE(store.has(kept[0]) && store.has(kept[1]));
  EXPECT_EQ(store.totals()->objects, 3u);
  ASSERT_TRUE(store.pin(kept[1], false).ok());
  for (int32_t i = 1; i < 5; ++i) put(store, text(1000 * i, 4));
  EXPECT_FALSE(store.has(kept[0]) || store.has(kept[1]));
}

TEST_F(StoreTest, WhatDoesNotFitIsRefusedAndHarmsNothingElse) {
  Store store = open({2 * kSealedBlock, 0});
  const auto objects = objects_of(root(store), text(0, 12));
  ASSERT_TRUE(store.put(objects[0]).ok());
  ASSERT_TRUE(store.put(objects[1]).ok());
  EXPECT_THAT(store.put(objects[2]).error().message, HasSubstr("no room"));
  EXPECT_TRUE(store.has(objects[0].head.own) && store.has(objects[1].head.own));
  const Object large = object_of(root(store), root(store), 0, {1}, ObjectKind::tail, 5000);
  EXPECT_EQ(store.put(large).error().kind, ErrorKind::io);
  EXPECT_EQ(store.totals()->objects, 2u);
}

TEST_F(StoreTest, WhatIsOldGoesFromTheLeavesOn) {
  std::vector<Hash> a, b, c;
  {
    Store store = open();
    a = put(store, text(0, 8)), b = put(store, text(100, 8)), c = put(store, text(200, 8));
    ASSERT_TRUE(store.pin(c[0], true).ok());
    EXPECT_EQ(store.collect()->objects, 0u);
  }
  for (const auto* line : {&a, &c}) {
    for (const Hash& h : *line) used_at(h, 1000);
  }
  used_at(b[0], 1000);  // its child was used since, which ought not to be
  Store store = open({UINT64_MAX, 3600});
  const auto dropped = store.collect().value();
  EXPECT_EQ(dropped.objects, 3u);
  EXPECT_EQ(dropped.bytes, 3 * kSealedBlock);
  EXPECT_FALSE(store.has(a[0]) || store.has(a[1]) || store.has(c[1]));
  EXPECT_TRUE(store.has(b[0]) && store.has(b[1]) && store.has(c[0]));
}

TEST_F(StoreTest, CollectingDropsWhatHasNoParentUnlessItIsPinned) {
  Store store = open();
  const auto a = put(store, text(0, 12)), b = put(store, text(100, 12));
  ASSERT_TRUE(store.pin(b[2], true).ok());
  fs::remove(file_of(a[0]));
  fs::remove(file_of(b[0]));
  EXPECT_EQ(store.collect()->objects, 2u);
  EXPECT_EQ(store.totals()->objects, 2u);
  EXPECT_TRUE(store.has(b[1]) && store.has(b[2]));
}

TEST_F(StoreTest, CollectingTakesUpFilesThatTheIndexDoesNotKnow) {
  Store store = open();
  const auto names = put(store, text(0, 8));
  auto index = Index::open(at("index.sqlite")).value();
  ASSERT_TRUE(index.remove(names[1]).ok());
  ASSERT_TRUE(write_text(at("objects/readme"), "not ours").ok());
  EXPECT_FALSE(store.has(names[1]));
  EXPECT_EQ(store.collect()->objects, 0u);
  EXPECT_TRUE(store.has(names[1]));
  EXPECT_TRUE(fs::exists(at("objects/readme")));
}

TEST_F(StoreTest, DropsWithAllThatLiesBehind) {
  Store store = open();
  const auto a = put(store, text(0, 14)), b = put(store, text(100, 8));
  ASSERT_TRUE(store.pin(a[2], true).ok());
  const auto dropped = store.drop([&](const Entry& e) { return e.head.own == a[1]; }).value();
  EXPECT_EQ(dropped.objects, 3u);
  EXPECT_TRUE(store.has(a[0]) && store.has(b[0]) && store.has(b[1]));
  EXPECT_FALSE(fs::exists(file_of(a[2]))) << "who says so may drop what is pinned";
  EXPECT_EQ(store.drop([](const Entry&) { return true; })->objects, 3u);
  EXPECT_EQ(store.totals()->objects, 0u);
}

// --- the index and other remains -----------------------------------------------------------------

TEST_F(StoreTest, TheIndexIsMadeAnewWhenItIsMissingDamagedOrOfAnotherVersion) {
  const auto tokens = text(0, 14);
  {
    Store store = open();
    put(store, tokens);
  }
  const std::string index = at("index.sqlite");
  const std::vector<std::function<void()>> harms = {
      [&] { fs::remove(index); },
      [&] { ASSERT_TRUE(write_text(index, "").ok()); },
      [&] { ASSERT_TRUE(write_text(index, std::string(9000, 'x')).ok()); },
      [&] {
        auto database = Database::open(index, Database::Mode::existing).value();
        ASSERT_TRUE(database.run("PRAGMA user_version = 7").ok());
      },
      [&] {
        auto database = Database::open(index, Database::Mode::existing).value();
        ASSERT_TRUE(database.run("DROP TABLE objects").ok());
      },
  };
  for (size_t i = 0; i < harms.size(); ++i) {
    harms[i]();
    Store store = open();
    EXPECT_EQ(matched(store, tokens), tokens.size()) << i;
    EXPECT_EQ(store.totals()->objects, 4u) << i;
    EXPECT_EQ(store.entries().value()[0].used, 1000u) << "when it was made";
    harms[i]();  // while it is open
    EXPECT_EQ(matched(store, tokens), tokens.size()) << i;
    EXPECT_EQ(store.totals()->objects, 4u) << i;
  }
}

TEST_F(StoreTest, AnIndexMadeAnewKnowsSoundFilesOnly) {
  std::vector<Hash> names;
  {
    Store store = open();
    names = put(store, text(0, 8));
  }
  fs::remove(at("index.sqlite"));
  ASSERT_TRUE(write_text(file_of(names[1]), "cut short").ok());
  fs::copy(file_of(names[0]), file_of(Hash{}).replace(path_.size() + 9, 2, names[0].hex(), 0, 2));
  const Store store = open();
  EXPECT_EQ(store.totals()->objects, 1u);
  EXPECT_TRUE(store.has(names[0]));
}

TEST_F(StoreTest, AKeyThatIsGoneIsSaidBeforeAnythingIsLost) {
  std::string secret;
  {
    Store store = open();
    put(store, text(0, 8));
    secret = read_text(at("key")).value();
  }
  fs::remove(at("key"));
  EXPECT_EQ(Store::open(path_).error().kind, ErrorKind::mismatch);
  ASSERT_TRUE(write_text(at("key"), secret).ok());
  const Store store = open();
  EXPECT_EQ(matched(store, text(0, 8)), 8u);
  ASSERT_TRUE(write_text(at("key"), "none").ok());
  EXPECT_EQ(Store::open(path_).error().kind, ErrorKind::format);
}

TEST_F(StoreTest, VerifyFindsEveryDamage) {
  Store store = open();
  const auto names = put(store, text(0, 20));
  EXPECT_EQ(store.verify(false, {})->sound, 5u);
  EXPECT_THAT(store.verify(false, {})->damaged, IsEmpty());
  flip(file_of(names[0]), kSealedBlock - 1);
  flip(file_of(names[1]), 30);
  ASSERT_TRUE(write_text(file_of(names[2]), "x").ok());
  fs::remove(file_of(names[3]));
  for (const bool repair : {false, true}) {
    const auto verified = store.verify(repair, {}).value();
    EXPECT_EQ(verified.sound, 1u);
    EXPECT_THAT(verified.damaged,
                UnorderedElementsAre(HasSubstr(file_of(names[0])), HasSubstr(file_of(names[1])),
                                     HasSubstr(file_of(names[2]))));
    EXPECT_FALSE(store.has(names[3])) << "what is gone is no damage";
  }
  EXPECT_THAT(store.verify(false, {})->damaged, IsEmpty());
  EXPECT_EQ(store.totals()->objects, 1u);
  EXPECT_TRUE(fs::exists(file_of(names[4])));
}

TEST_F(StoreTest, WorkStopsOnRequest) {
  Store store = open();
  put(store, text(0, 8));
  const Progress stop{[](const std::string&, size_t, size_t) { return false; }};
  EXPECT_EQ(store.verify(false, stop).error().kind, ErrorKind::interrupted);
  EXPECT_EQ(store.collect(stop).error().kind, ErrorKind::interrupted);
  EXPECT_EQ(store.export_to(folder_.file("x"), {}, stop).error().kind, ErrorKind::interrupted);
  EXPECT_FALSE(fs::exists(folder_.file("x")));
}

// --- other stores --------------------------------------------------------------------------------

class Transfer : public StoreTest {
 protected:
  // Of the same key.
  Store other(const Limits& limits = {}) const {
    const std::string folder = folder_.file("other");
    fs::create_directories(folder);
    fs::copy_file(at("key"), folder + "/key", fs::copy_options::overwrite_existing);
    return Store::open(folder, limits).value();
  }
  const std::string archive_ = folder_.file("archive");
};

TEST_F(Transfer, AllThatIsThere) {
  Store store = open();
  const auto tokens = text(0, 14);
  put(store, tokens);
  put(store, text(100, 3));
  EXPECT_EQ(store.export_to(archive_, {}, {}).value(), 5u);
  Store to = other();
  EXPECT_EQ(to.import_from(archive_, {}).value(), 5u);
  EXPECT_EQ(matched(to, tokens), tokens.size());
  EXPECT_EQ(matched(to, text(100, 3)), 3u);
  EXPECT_EQ(to.import_from(archive_, {}).value(), 0u) << "once";
  struct stat info {};
  ASSERT_EQ(::stat(archive_.c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 0777, 0600u);
}

TEST_F(Transfer, WhatIsWantedGoesWithItsAncestors) {
  Store store = open();
  const auto names = put(store, text(0, 14));
  put(store, text(100, 8));
  const auto third = [&](const Entry& e) { return e.head.own == names[2]; };
  EXPECT_EQ(store.export_to(archive_, third, {}).value(), 3u);
  Store to = other();
  EXPECT_EQ(to.import_from(archive_, {}).value(), 3u);
  EXPECT_EQ(matched(to, text(0, 14)), 12u);
}

TEST_F(Transfer, IsRefusedByAStoreOfAnotherKey) {
  Store store = open();
  put(store, text(0, 8));
  ASSERT_TRUE(store.export_to(archive_, {}, {}).ok());
  Store stranger = Store::open(folder_.file("stranger")).value();
  EXPECT_EQ(stranger.import_from(archive_, {}).error().kind, ErrorKind::mismatch);
  // Also if the archive lies about its key.
  Bytes bytes = read_file(archive_).value();
  const std::string claimed = stranger.key().fingerprint();
  std::copy(claimed.begin(), claimed.end(), bytes.begin() + 12);
  ASSERT_TRUE(write_file(archive_, bytes).ok());
  EXPECT_EQ(stranger.import_from(archive_, {}).error().kind, ErrorKind::mismatch);
  EXPECT_EQ(stranger.totals()->objects, 0u);
}

TEST_F(Transfer, CutShortOrAlteredIsRefusedBeforeAnythingIsTaken) {
  Store store = open();
  put(store, text(0, 8));
  ASSERT_TRUE(store.export_to(archive_, {}, {}).ok());
  const Bytes whole = read_file(archive_).value();
  Store to = other();
  for (size_t size = 0; size < whole.size();
       size += size < 50 || size + 20 > whole.size() ? 1 : 37) {
    ASSERT_TRUE(write_file(archive_, ByteSpan(whole).first(size)).ok());
    EXPECT_EQ(to.import_from(archive_, {}).error().kind, ErrorKind::format) << size;
  }
  // 626: tokens of the second object.
  for (const size_t byte : {0, 9, 13, 28, 40, 300, 626, int(whole.size()) - 1}) {
    Bytes bytes = whole;
    bytes[byte] ^= 64;
    ASSERT_TRUE(write_file(archive_, bytes).ok());
    EXPECT_FALSE(to.import_from(archive_, {}).ok()) << byte;
  }
  for (const uint64_t claim : {uint64_t{1}, uint64_t{1} << 40, ~uint64_t{0}}) {
    Bytes bytes = whole;
    std::memcpy(bytes.data() + 28, &claim, sizeof claim);
    ASSERT_TRUE(write_file(archive_, bytes).ok());
    EXPECT_EQ(to.import_from(archive_, {}).error().kind, ErrorKind::format) << claim;
  }
  EXPECT_EQ(to.totals()->objects, 0u);
}

}  // namespace
}  // namespace kvsplice::store
