#include "store/index.h"

#include <gmock/gmock.h>

#include <filesystem>
#include <thread>

#include "core/file.h"
#include "core/temporary_folder.h"
#include "store/sqlite.h"
#include "store/store_objects_test.h"

namespace kvsplice::store {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

class IndexTest : public testing::Test {
 protected:
  static Entry entry(const Object& object, uint64_t used, bool answered = false) {
    Entry entry{object.head, 1000, used, false};
    entry.head.answered = answered;
    return entry;
  }
  static std::vector<Hash> names(const std::vector<Entry>& entries) {
    std::vector<Hash> own;
    for (const Entry& e : entries) own.push_back(e.head.own);
    return own;
  }
  // A line of blocks, each used at that time.
  std::vector<Hash> add_line(Index& index, int32_t first, size_t blocks, uint64_t used,
                             bool answered = false) const {
    std::vector<Hash> own;
    for (const Object& o : objects_of(root_, text(first, blocks * kBlock))) {
      EXPECT_TRUE(index.add(entry(o, used, answered)).ok());
      own.push_back(o.head.own);
    }
    return own;
  }
  uint64_t used(const Index& index, const Hash& own) const {
    return index.find(own).value().value().used;
  }

  const TemporaryFolder folder_ = TemporaryFolder::create("index-test").value();
  const std::string path_ = folder_.file("index.sqlite");
  const Hash root_ = root_named(key_of());
};

TEST_F(IndexTest, EntriesComeBackAlsoToAnotherThatOpensIt) {
  Index index = Index::make(path_, {}).value();
  Object tail = object_of(root_, root_, 0, {1, 2}, ObjectKind::tail);
  tail.head.owner = key_of().owner_of("alice");
  Entry added = entry(tail, 77, true);
  added.pinned = true;
  ASSERT_TRUE(index.add(added).ok());
  const Index other = Index::open(path_).value();
  for (const Index* i : {&std::as_const(index), &other}) {
    const Entry back = i->find(tail.head.own).value().value();
    EXPECT_EQ(back.head, added.head);
    EXPECT_EQ(back.bytes, 1000u);
    EXPECT_EQ(back.used, 77u);
    EXPECT_TRUE(back.pinned);
    EXPECT_FALSE(i->find(root_).value().has_value());
  }
  ASSERT_TRUE(index.remove(tail.head.own).ok());
  EXPECT_FALSE(other.find(tail.head.own).value().has_value());
}

TEST_F(IndexTest, AddingReplaces) {
  Index index = Index::make(path_, {}).value();
  const Object object = object_of(root_, root_, 0, text(1, kBlock));
  ASSERT_TRUE(index.add(entry(object, 1)).ok());
  ASSERT_TRUE(index.add(entry(object, 5)).ok());
  EXPECT_EQ(index.all()->size(), 1u);
  EXPECT_EQ(used(index, object.head.own), 5u);
}

TEST_F(IndexTest, ChildrenAreThoseUsedLastFirst) {
  Index index = Index::make(path_, {}).value();
  std::vector<Hash> expected;
  for (int32_t i = 0; i < 5; ++i) {
    const Object object = object_of(root_, root_, 0, text(10 * i, 3), ObjectKind::tail);
    ASSERT_TRUE(index.add(entry(object, uint64_t(i) * 7 % 5)).ok());
    expected.push_back(object.head.own);
  }
  // used: 0, 2, 4, 1, 3
  const auto& e = expected;
  EXPECT_THAT(names(index.children(root_).value()), ElementsAre(e[2], e[4], e[1], e[3], e[0]));
  EXPECT_THAT(names(index.children(root_, 2).value()), ElementsAre(e[2], e[4]));
  EXPECT_THAT(index.children(e[0]).value(), IsEmpty());
}

TEST_F(IndexTest, UsingAnObjectUsesItsAncestors) {
  Index index = Index::make(path_, {}).value();
  const auto one = add_line(index, 0, 3, 10), two = add_line(index, 100, 2, 10);
  ASSERT_TRUE(index.touch(one[1], 20).ok());
  EXPECT_EQ(used(index, one[0]), 20u);
  EXPECT_EQ(used(index, one[1]), 20u);
  EXPECT_EQ(used(index, one[2]), 10u);
  EXPECT_EQ(used(index, two[0]), 10u);
  ASSERT_TRUE(index.touch(one[2], 15).ok());
  EXPECT_EQ(used(index, one[1]), 20u) << "time does not go back";
  EXPECT_EQ(used(index, one[2]), 15u);
}

TEST_F(IndexTest, ACircleThatHeadsClaimEnds) {
  Index index = Index::make(path_, {}).value();
  auto objects = objects_of(root_, text(0, 3 * kBlock));
  objects[0].head.parent = objects[2].head.own;
  for (const Object& o : objects) ASSERT_TRUE(index.add(entry(o, 1)).ok());
  ASSERT_TRUE(index.touch(objects[1].head.own, 5).ok());
  EXPECT_EQ(used(index, objects[2].head.own), 5u);
}

TEST_F(IndexTest, LeavesAreAnswersFirstThenThoseUnusedForLongest) {
  Index index = Index::make(path_, {}).value();
  const auto old = add_line(index, 0, 2, 10), young = add_line(index, 100, 2, 30);
  const auto answer = add_line(index, 200, 1, 40, true);
  EXPECT_THAT(names(index.leaves(9).value()), ElementsAre(answer[0], old[1], young[1]));
  EXPECT_THAT(names(index.leaves(1).value()), ElementsAre(answer[0]));
  ASSERT_TRUE(index.pin(old[1], true).ok());
  EXPECT_THAT(names(index.leaves(9).value()), ElementsAre(answer[0], young[1]));
  ASSERT_TRUE(index.pin(old[1], false).ok());
  EXPECT_THAT(names(index.leaves(9).value()), ElementsAre(answer[0], old[1], young[1]));
}

TEST_F(IndexTest, TotalsAreOfAllAndOfARoot) {
  Index index = Index::make(path_, {}).value();
  EXPECT_EQ(index.totals()->bytes, 0u);
  add_line(index, 0, 3, 1);
  const Hash other = root_named(key_of(), "alice");
  const Object tail = object_of(other, other, 0, {1, 2}, ObjectKind::tail);
  ASSERT_TRUE(index.add(entry(tail, 1)).ok());
  ASSERT_TRUE(index.pin(tail.head.own, true).ok());
  const Totals all = index.totals().value(), its = index.totals_of(other).value();
  EXPECT_EQ(all.objects, 4u);
  EXPECT_EQ(all.tails, 1u);
  EXPECT_EQ(all.bytes, 4000u);
  EXPECT_EQ(all.tokens, 14u);
  EXPECT_EQ(all.pinned, 1u);
  EXPECT_EQ(its.objects, 1u);
  EXPECT_EQ(its.tokens, 2u);
}

TEST_F(IndexTest, WhatIsNoIndexOfThisVersionIsRefused) {
  const auto refused = [&](const std::string& why) {
    const auto opened = Index::open(path_);
    ASSERT_FALSE(opened.ok()) << why;
    EXPECT_EQ(opened.error().kind, ErrorKind::format) << why << ": " << opened.error().message;
  };
  refused("missing");
  for (const std::string& content :
       {std::string(), std::string("no database"), std::string(8192, 'x')}) {
    ASSERT_TRUE(write_text(path_, content).ok());
    refused(content.substr(0, 20));
  }
  const auto change = [&](const char* sql) {
    std::filesystem::remove(path_);
    ASSERT_TRUE(Index::make(path_, {}).ok());
    auto database = Database::open(path_, Database::Mode::existing).value();
    ASSERT_TRUE(database.run(sql).ok());
  };
  change("PRAGMA user_version = 2");
  refused("another version");
  change("PRAGMA application_id = 1");
  refused("of another program");
  change("SELECT 1");
  EXPECT_TRUE(Index::open(path_).ok()) << "and this one is an index";
}

TEST_F(IndexTest, DamageIsFound) {
  {
    Index index = Index::make(path_, {}).value();
    for (int32_t i = 0; i < 20; ++i) add_line(index, 1000 * i, 20, 1);
  }
  Bytes bytes = read_file(path_).value();
  ASSERT_GT(bytes.size(), 20 * 4096u);
  for (size_t i = 3 * 4096; i < 12 * 4096; ++i) bytes[i] = 0xff;
  ASSERT_TRUE(write_file(path_, bytes).ok());
  EXPECT_EQ(Index::open(path_).error().kind, ErrorKind::format);
  bytes.resize(5 * 4096 + 17);
  ASSERT_TRUE(write_file(path_, bytes).ok());
  EXPECT_EQ(Index::open(path_).error().kind, ErrorKind::format);
}

TEST_F(IndexTest, MadeAnewItTakesThePlaceOfTheOld) {
  Index old = Index::make(path_, {}).value();
  add_line(old, 0, 3, 1);
  const Object object = object_of(root_, root_, 0, {1}, ObjectKind::tail);
  const Index now = Index::make(path_, {entry(object, 5)}).value();
  EXPECT_FALSE(old.is_in_place());
  EXPECT_TRUE(now.is_in_place());
  EXPECT_THAT(names(now.all().value()), ElementsAre(object.head.own));
  EXPECT_THAT(names(Index::open(path_)->all().value()), ElementsAre(object.head.own));
}

TEST_F(IndexTest, WhatAKilledMakerHasLeftIsNoHindrance) {
  for (const char* end : {".new", ".new-journal", "-wal", "-shm"}) {
    ASSERT_TRUE(write_text(path_ + end, std::string(5000, 'x')).ok());
  }
  EXPECT_THAT(Index::make(path_, {})->all().value(), IsEmpty());
  EXPECT_FALSE(std::filesystem::exists(path_ + ".new"));
}

TEST_F(IndexTest, ServesThreadsAndConnectionsAtOnce) {
  Index shared = Index::make(path_, {}).value();
  std::vector<std::thread> threads;
  for (int32_t t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      Index own = Index::open(path_).value();
      for (int32_t i = 0; i < 25; ++i) {
        const Object object = object_of(root_, root_, 0, {100 * t + i}, ObjectKind::tail);
        EXPECT_TRUE((i % 2 ? shared : own).add(entry(object, 1)).ok());
        EXPECT_TRUE(shared.touch(object.head.own, uint64_t(i)).ok());
        EXPECT_TRUE(own.find(object.head.own).value().has_value());
      }
    });
  }
  for (auto& t : threads) t.join();
  EXPECT_EQ(shared.totals()->objects, 100u);
}

}  // namespace
}  // namespace kvsplice::store
