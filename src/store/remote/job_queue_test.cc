#include "store/remote/job_queue.h"

#include <gtest/gtest.h>

#include <atomic>
#include <future>

namespace kvsplice::store {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

TEST(JobQueue, DoesJobsInOrder) {
  std::vector<int> done;
  JobQueue queue(100);
  for (int i = 0; i < 20; ++i) {
    EXPECT_TRUE(queue.push(1, [&done, i] {
      done.push_back(i);
      return true;
    }));
  }
  queue.drain(seconds(10));
  ASSERT_EQ(done.size(), 20u);
  for (int i = 0; i < 20; ++i) EXPECT_EQ(done[size_t(i)], i);
  EXPECT_EQ(queue.view().jobs, 0u);
  EXPECT_EQ(queue.view().bytes, 0u);
}

TEST(JobQueue, DropsWhatDoesNotFit) {
  std::promise<void> go;
  auto gone = go.get_future().share();
  JobQueue queue(100);
  const auto wait = [gone] {
    gone.wait();
    return true;
  };
  EXPECT_TRUE(queue.push(60, wait));
  EXPECT_TRUE(queue.push(40, wait));
  EXPECT_FALSE(queue.push(1, wait));
  EXPECT_FALSE(queue.push(UINT64_MAX, wait));
  EXPECT_EQ(queue.view().jobs, 2u);
  EXPECT_EQ(queue.view().bytes, 100u) << "with the one at hand";
  EXPECT_EQ(queue.view().dropped, 2u);
  go.set_value();
  queue.drain(seconds(10));
  EXPECT_TRUE(queue.push(100, wait));
}

TEST(JobQueue, TriesAgainWhatCannotBeDoneNow) {
  std::atomic<int> tries = 0, second = 0;
  JobQueue queue(100, milliseconds(1));
  queue.push(1, [&] { return ++tries == 3; });
  queue.push(1, [&] {
    second = tries.load();
    return true;
  });
  while (queue.view().jobs > 0) std::this_thread::sleep_for(milliseconds(1));
  EXPECT_EQ(tries, 3);
  EXPECT_EQ(second, 3) << "the others wait behind it";
}

TEST(JobQueue, NeitherDrainingNorEndingWaitsForWhatCannotBeDoneNow) {
  const auto begun = steady_now();
  {
    JobQueue queue(100, seconds(60));
    queue.push(1, [] { return false; });
    queue.push(1, [] { return true; });
    queue.drain(seconds(60));
    EXPECT_EQ(queue.view().jobs, 2u);
  }
  EXPECT_LT(steady_now() - begun, seconds(20));
}

}  // namespace
}  // namespace kvsplice::store
