#include <gmock/gmock.h>

#include <algorithm>
#include <csignal>
#include <mutex>
#include <set>

#include "core/temporary_folder.h"
#include "sweep/processes_test.h"
#include "sweep/shared_lines.h"
#include "sweep/team.h"

namespace kvsplice::sweep {
namespace {

using ::testing::Each;
using ::testing::ElementsAre;

constexpr int kJobs = 24;

// Jobs that add their number to a file, which is how others know of it.
class TeamTest : public ::testing::Test {
 protected:
  std::vector<Job> jobs(const std::function<Result<>(int)>& before = {}) const {
    std::vector<Job> all;
    for (int i = 0; i < kJobs; ++i) {
      const std::string name = std::to_string(i);
      const auto is_done = [this, name] {
        const auto lines = *SharedLines(path).more();
        return std::find(lines.begin(), lines.end(), name) != lines.end();
      };
      const auto work = [this, name, before, i]() -> Result<> {
        if (before) KVS_TRY(before(i));
        return SharedLines(path).add(name);
      };
      all.push_back({name, is_done, work});
    }
    return all;
  }
  pid_t member(size_t number, size_t count, const std::vector<Job>& list) const {
    return in_a_process([=, this] {
      return Team({number, count}).share(folder.path(), list, {}).ok() ? 0 : 1;
    });
  }
  std::vector<std::string> done() const { return *SharedLines(path).more(); }
  // Each once.
  void expect_all_done() const {
    const auto lines = done();
    EXPECT_EQ(lines.size(), size_t(kJobs));
    EXPECT_EQ(std::set<std::string>(lines.begin(), lines.end()).size(), size_t(kJobs));
  }

  TemporaryFolder folder = *TemporaryFolder::create("team");
  std::filesystem::path path = folder.file("done");
};

Result<> short_while(int) {
  ::usleep(2000);
  return {};
}

TEST_F(TeamTest, OneGoesThroughTheListAndClaimsNothing) {
  const Team alone;
  ASSERT_TRUE(alone.share(folder.file("nowhere"), jobs(), {}).ok());
  std::vector<std::string> expected;
  for (int i = 0; i < kJobs; ++i) expected.push_back(std::to_string(i));
  EXPECT_EQ(done(), expected);
  EXPECT_EQ(alone.jobs_done_here(), size_t(kJobs));
  ASSERT_TRUE(alone.share(folder.path(), jobs(), {}).ok());
  EXPECT_EQ(alone.jobs_done_here(), size_t(kJobs)) << "done again";
}

TEST_F(TeamTest, ManyDoEachJobOnce) {
  std::vector<pid_t> children;
  for (size_t n = 0; n < 4; ++n) children.push_back(member(n, 4, jobs(short_while)));
  EXPECT_THAT(ends_of(children), Each(0));
  expect_all_done();
}

TEST_F(TeamTest, WhatAKilledOneWasAtIsDoneByOthers) {
  const auto die = [](int i) -> Result<> {
    if (i == 9) ::raise(SIGKILL);
    return short_while(i);
  };
  std::vector<pid_t> children = {member(1, 3, jobs(die))};  // it begins with 8
  EXPECT_EQ(end_of(children[0]), -SIGKILL);
  EXPECT_THAT(done(), ElementsAre("8"));
  children = {member(0, 3, jobs(short_while)), member(2, 3, jobs(short_while))};
  EXPECT_THAT(ends_of(children), Each(0));
  expect_all_done();
}

TEST_F(TeamTest, OneThatFailsEndsAndOthersGoOn) {
  const auto fail = [](int i) -> Result<> {
    if (i == 9) return Error{ErrorKind::io, "not here"};
    return short_while(i);
  };
  const std::vector<pid_t> children = {member(0, 2, jobs(fail)), member(1, 2, jobs(short_while))};
  EXPECT_THAT(ends_of(children), ::testing::Contains(0));
  expect_all_done();
}

TEST_F(TeamTest, WhoStopsLetsGoOfItsJob) {
  int steps = 0;
  const Progress stop{[&](const std::string&, size_t, size_t) { return ++steps < 3; }};
  const Team team({0, 2});
  const auto stopped =
      team.share(folder.path(), jobs([&](int) { return stop.step("", 0, 1); }), {});
  ASSERT_FALSE(stopped.ok());
  EXPECT_EQ(stopped.error().kind, ErrorKind::interrupted);
  EXPECT_EQ(done().size(), 2u);
  ASSERT_TRUE(Team({1, 2}).share(folder.path(), jobs(), {}).ok());
  expect_all_done();
}

TEST_F(TeamTest, WaitingCanBeStopped) {
  int told[2];
  ASSERT_EQ(::pipe(told), 0);
  const pid_t other = member(0, 2, jobs([&](int) -> Result<> {
                               (void)!::write(told[1], "1", 1);
                               for (;;) ::pause();
                             }));
  char byte;
  ASSERT_EQ(::read(told[0], &byte, 1), 1);
  std::string last;
  const Progress never{[&](const std::string& what, size_t, size_t) {
    last = what;
    return false;
  }};
  const auto stopped = Team({1, 2}).share(folder.path(), jobs(), never);
  ASSERT_FALSE(stopped.ok());
  EXPECT_EQ(stopped.error().kind, ErrorKind::interrupted);
  EXPECT_EQ(last, "waiting for other ranks");
  EXPECT_EQ(done().size(), size_t(kJobs) - 1);
  ::kill(other, SIGKILL);
  end_of(other);
}

TEST_F(TeamTest, SeveralAtOnceOnThreads) {
  for (const size_t count : {1, 2}) {
    std::filesystem::remove(path);
    std::mutex guard;
    std::set<int> begun;
    const auto once = [&](int i) -> Result<> {
      const std::lock_guard lock(guard);
      EXPECT_TRUE(begun.insert(i).second) << i;
      return {};
    };
    ASSERT_TRUE(Team({0, count}).share(folder.path(), jobs(once), {}, 3).ok());
    expect_all_done();
  }
}

TEST_F(TeamTest, TurnsAreTakenByAllAndByOneAtATime) {
  const auto turn = [this]() -> Result<> {
    const auto lines = *SharedLines(path).more();
    if (lines.size() % 2 != 0) return Error{ErrorKind::io, "two at once"};
    KVS_TRY(SharedLines(path).add("in"));
    ::usleep(3000);
    return SharedLines(path).add("out");
  };
  std::vector<pid_t> children;
  for (size_t n = 0; n < 3; ++n) {
    children.push_back(in_a_process([&, n] {
      return Team({n, 3}).in_turn(folder.path(), "turn", turn, {}).ok() ? 0 : 1;
    }));
  }
  EXPECT_THAT(ends_of(children), Each(0));
  EXPECT_THAT(done(), ElementsAre("in", "out", "in", "out", "in", "out"));
}

}  // namespace
}  // namespace kvsplice::sweep
