// Stores that share a remote, sound and not.
#include <fmt/format.h>
#include <gmock/gmock.h>

#include <filesystem>

#include "core/file.h"
#include "core/stopwatch.h"
#include "core/temporary_folder.h"
#include "store/remote/fake_remote_test.h"
#include "store/store.h"
#include "store/store_objects_test.h"

namespace kvsplice::store {
namespace {

namespace fs = std::filesystem;
using Fault = FakeServer::Fault;
using std::chrono::milliseconds;
using std::chrono::seconds;
using testing::HasSubstr;
using testing::SizeIs;

// "one" fills the remote, "two" reads from it.
class StoreRemote : public testing::Test {
 protected:
  StoreRemote() { copy_key("two"); }

  std::string at(const std::string& name) const { return folder_.file(name); }
  void copy_key(const std::string& to) {
    ASSERT_TRUE(Store::open(at("one")).ok());
    fs::create_directory(at(to));
    fs::copy_file(at("one") + "/key", at(to) + "/key");
  }
  Store open(const std::string& name, const Limits& limits = {}) {
    auto store = Store::open(at(name), limits, std::make_unique<FakeRemote>(server_));
    EXPECT_TRUE(store.ok()) << (store.ok() ? "" : store.error().message);
    return std::move(*store);
  }
  static Hash root(const Store& store) { return root_named(store.key()); }
  static void wait_until_sent(const Store& store) {
    const Stopwatch watch;
    while (store.remote()->counts.queued > 0 && watch.seconds() < 20) {
      std::this_thread::sleep_for(milliseconds(1));
    }
    ASSERT_EQ(store.remote()->counts.queued, 0u);
  }
  std::vector<Hash> put(Store& store, std::span<const int32_t> tokens) {
    std::vector<Hash> names;
    for (const Object& object : objects_of(root(store), tokens)) {
      EXPECT_TRUE(store.put(object).ok());
      names.push_back(object.head.own);
    }
    return names;
  }
  // By a store that is closed then.
  std::vector<Hash> share(std::span<const int32_t> tokens) {
    Store one = open("one");
    auto names = put(one, tokens);
    wait_until_sent(one);
    return names;
  }
  static Match find(const Store& store, std::span<const int32_t> tokens, int patience = 5000) {
    const auto until = steady_now() + milliseconds(patience);
    return store.find(root(store), tokens, kBlock, until).value();
  }

  const TemporaryFolder folder_ = TemporaryFolder::create("store-remote-test").value();
  FakeServer server_;
};

TEST_F(StoreRemote, BringsWhatAnotherHasPut) {
  const auto tokens = text(0, 11);
  const auto names = share(tokens);
  Store two = open("two");
  EXPECT_EQ(two.find(root(two), tokens, kBlock)->tokens, 0u) << "without time it is not asked";
  const Match match = find(two, tokens);
  EXPECT_EQ(match.tokens, 11u);
  EXPECT_THAT(match.blocks, SizeIs(2));
  EXPECT_EQ(match.behind, names[2]);
  const auto objects = objects_of(root(two), tokens);
  for (const Object& object : objects) {
    EXPECT_EQ(two.get(object.head.own)->cells, object.cells);
  }
  const DepotView view = *two.remote();
  EXPECT_EQ(view.counts.hits, 1u);
  EXPECT_EQ(view.counts.got_objects, 3u);
  EXPECT_EQ(view.state, Breaker::State::closed);
  // From now on it is here.
  server_.set(Fault::dead);
  EXPECT_EQ(find(two, tokens).tokens, 11u);
  EXPECT_EQ(server_.count_calls(), 0);
}

TEST_F(StoreRemote, MatchesToTheToken) {
  const auto tokens = text(0, 11);
  share(tokens);
  for (size_t n = 1; n <= tokens.size(); ++n) {
    for (const bool goes_on : {false, true}) {
      const std::string name = fmt::format("reader-{}-{}", n, goes_on);
      copy_key(name);
      Store reader = open(name);
      auto asked = std::vector<int32_t>(tokens.begin(), tokens.begin() + ptrdiff_t(n));
      if (goes_on) asked.push_back(999);
      EXPECT_EQ(find(reader, asked).tokens, n);
    }
  }
}

TEST_F(StoreRemote, GoesOnBehindWhatIsHere) {
  const auto tokens = text(0, 22);
  Store two = open("two");
  put(two, std::span(tokens).first(kBlock + 2));  // a block, and a tail that shares two
  wait_until_sent(two);
  share(tokens);
  EXPECT_EQ(find(two, tokens).tokens, 22u);
  EXPECT_EQ(two.remote()->counts.got_objects, 5u) << "four blocks and a tail";
}

TEST_F(StoreRemote, TakesTheChildThatSharesMost) {
  const auto with = [](std::vector<int32_t> more) {
    auto all = text(0, kBlock);
    all.insert(all.end(), more.begin(), more.end());
    return all;
  };
  share(with({50, 51}));
  const auto wanted = share(with({50, 52, 54, 55, 56}));
  share(with({50, 52, 53}));
  Store two = open("two");
  const Match match = find(two, with({50, 52, 54, 9, 9, 9}));
  EXPECT_EQ(match.tokens, kBlock + 3);
  EXPECT_EQ(match.behind, wanted[1]);
  EXPECT_EQ(two.remote()->counts.got_objects, 2u) << "and no other";
}

TEST_F(StoreRemote, AnEntryNamesOnlyWhatIsThere) {
  const auto names = share(text(0, 6));
  const Hash root = root_named(open("one").key());
  const std::vector<std::string> wanted = {"put " + names[0].hex(), "put " + entry_name(root).hex(),
                                           "put " + names[1].hex(),
                                           "put " + entry_name(names[0]).hex()};
  EXPECT_EQ(server_.log, wanted);
}

TEST_F(StoreRemote, WhatAConversationWasBeforeItGrewGoes) {
  const auto old = share(text(0, kBlock + 2));
  share(text(0, kBlock + 3));
  EXPECT_FALSE(server_.values.contains(old[1]));
  EXPECT_TRUE(server_.values.contains(old[0]));
}

TEST_F(StoreRemote, ALostEntryOrObjectCostsAShorterMatch) {
  const auto tokens = text(0, 14);  // three blocks and two tokens
  const auto names = share(tokens);
  server_.values.erase(entry_name(names[2]));
  {
    Store two = open("two");
    EXPECT_EQ(find(two, tokens).tokens, 12u);
  }
  server_.values.erase(names[1]);
  copy_key("three");
  Store three = open("three");
  EXPECT_EQ(find(three, tokens).tokens, 4u);
  EXPECT_EQ(three.remote()->counts.failures, 0u);
}

TEST_F(StoreRemote, WithAnotherKeyNothingIsFound) {
  share(text(0, 11));
  Store other = open("other");
  EXPECT_EQ(find(other, text(0, 11)).tokens, 0u);
  EXPECT_EQ(other.remote()->counts.misses, 1u);
  EXPECT_EQ(other.remote()->counts.spoilt, 0u);
}

// --- faults --------------------------------------------------------------------------------------

TEST_F(StoreRemote, DeadCostsNothingAndIsSoonLeftAlone) {
  const auto tokens = text(0, 11);
  share(tokens);
  Store two = open("two");
  server_.set(Fault::dead);
  for (int i = 0; i < 10; ++i) EXPECT_EQ(find(two, tokens).tokens, 0u);
  EXPECT_EQ(server_.count_calls(), 3);
  const DepotView view = *two.remote();
  EXPECT_EQ(view.state, Breaker::State::open);
  EXPECT_EQ(view.counts.failures, 3u);
  EXPECT_GT(view.seconds_until_next, 5);
  EXPECT_EQ(view.last_error, "no answer");
}

TEST_F(StoreRemote, SlowCostsAMomentThreeTimes) {
  const auto tokens = text(0, 11);
  share(tokens);
  Store two = open("two");
  server_.set(Fault::slow);
  for (int i = 0; i < 5; ++i) {
    const Stopwatch watch;
    EXPECT_EQ(find(two, tokens, 10000).tokens, 0u);
    EXPECT_LT(watch.seconds(), 3) << i;
    EXPECT_GT(watch.seconds(), i < 3 ? 0.15 : 0.0) << i;
  }
  EXPECT_EQ(server_.count_calls(), 3) << "then it is left alone";
}

// Lookups are answered, but what is asked for never comes.
TEST_F(StoreRemote, HalfAnAnswerGivesWhatCameWhole) {
  const auto tokens = text(0, 11);
  const auto names = share(tokens);
  server_.set(Fault::half);
  Store two = open("two");
  const Match match = find(two, tokens);
  EXPECT_EQ(match.tokens, kBlock);
  EXPECT_EQ(two.remote()->counts.failures, 1u);
  EXPECT_EQ(two.remote()->state, Breaker::State::closed);
  server_.set(Fault::none);
  EXPECT_EQ(find(two, tokens).tokens, 11u) << "and the rest later";
}

TEST_F(StoreRemote, ALiarIsNotBelievedAndSoonLeftAlone) {
  const auto tokens = text(0, 11);
  share(tokens);
  const std::map<Hash, Bytes> sound = server_.values;
  Store two = open("two");
  server_.set(Fault::lying);
  for (int i = 0; i < 5; ++i) {
    server_.values = sound;
    EXPECT_EQ(find(two, tokens).tokens, 0u);
    wait_until_sent(two);
  }
  EXPECT_EQ(two.totals()->objects, 0u);
  EXPECT_EQ(two.remote()->counts.spoilt, 3u);
  EXPECT_EQ(two.remote()->state, Breaker::State::open);
}

TEST_F(StoreRemote, WhatIsSpoiltIsDroppedThere) {
  const auto tokens = text(0, 11);
  const auto names = share(tokens);
  const std::map<Hash, Bytes> sound = server_.values;
  const std::vector<std::function<void()>> harms = {
      [&] { server_.values[names[1]].back() ^= 1; },           // altered
      [&] { server_.values[names[1]].resize(100); },           // cut
      [&] { server_.values[names[1]].push_back(0); },          // longer than it says
      [&] { server_.values[names[1]] = sound.at(names[0]); },  // another object
      [&] {                                                    // of another key
        server_.values[names[1]] =
            seal(objects_of(root_named(open("one").key()), tokens)[1], key_of(9)).value();
      },
  };
  for (size_t i = 0; i < harms.size(); ++i) {
    server_.values = sound;
    harms[i]();
    const std::string name = fmt::format("reader-{}", i);
    copy_key(name);
    Store reader = open(name);
    EXPECT_EQ(find(reader, tokens).tokens, kBlock) << i;
    EXPECT_EQ(reader.remote()->counts.spoilt, 1u) << i;
    wait_until_sent(reader);
    EXPECT_FALSE(server_.values.contains(names[1])) << i;
    EXPECT_TRUE(server_.values.contains(names[0])) << i;
  }
}

TEST_F(StoreRemote, AnEntryThatIsNoneCountsAsNone) {
  const auto tokens = text(0, 6);
  const auto names = share(tokens);
  server_.values[entry_name(names[0])].back() ^= 1;
  Store two = open("two");
  EXPECT_EQ(find(two, tokens).tokens, kBlock);
  EXPECT_EQ(two.remote()->counts.spoilt, 1u);
  wait_until_sent(two);
  put(two, text(0, 7));
  wait_until_sent(two);
  copy_key("three");
  EXPECT_EQ(find(open("three"), text(0, 7)).tokens, 7u) << "it is written anew";
}

TEST_F(StoreRemote, FullTakesNothingAndStillGives) {
  const auto tokens = text(0, 11);
  share(tokens);
  server_.set(Fault::full);
  Store two = open("two");
  put(two, text(100, 11));
  wait_until_sent(two);
  EXPECT_EQ(two.remote()->counts.refused, 3u);
  EXPECT_EQ(two.remote()->state, Breaker::State::closed);
  EXPECT_EQ(two.remote()->last_error, "OOM");
  EXPECT_EQ(find(two, tokens).tokens, 11u);
  EXPECT_EQ(two.totals()->objects, 6u);
}

TEST_F(StoreRemote, WhatIsPutWhileItIsDeadWaits) {
  server_.set(Fault::dead);
  Store one = open("one");
  const Stopwatch watch;
  put(one, text(0, 11));
  EXPECT_LT(watch.seconds(), 5);
  EXPECT_EQ(one.remote()->counts.queued, 3u);
  EXPECT_GT(one.remote()->counts.queued_bytes, 300u);
  server_.set(Fault::none);
  wait_until_sent(one);
  EXPECT_EQ(one.remote()->counts.put_objects, 3u);
}

TEST_F(StoreRemote, ClosingSendsWhatIsQueued) {
  const auto tokens = text(0, 400);
  {
    Store one = open("one");
    put(one, tokens);
  }
  EXPECT_EQ(find(open("two"), tokens).tokens, 400u);
}

TEST_F(StoreRemote, WhatHasNoRoomHereIsNotThere) {
  const auto tokens = text(0, 12);
  const auto names = share(tokens);
  const uint64_t one = server_.values[names[0]].size();
  Store two = open("two", {2 * one, 0});
  const Match match = find(two, tokens);
  EXPECT_EQ(match.tokens, 8u);
  EXPECT_TRUE(two.has(names[0]) && two.has(names[1]));
  EXPECT_EQ(two.remote()->counts.failures, 0u);
}

}  // namespace
}  // namespace kvsplice::store
