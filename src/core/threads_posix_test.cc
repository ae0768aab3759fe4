#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>

#include "core/threads.h"

namespace kvsplice {
namespace {

#if defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define KVSPLICE_NO_THREADS_BEHIND_FORK  // the sanitizer ends a child that starts threads
#endif
#endif

#if !defined(KVSPLICE_NO_THREADS_BEHIND_FORK)
// A child has none of its parent's threads, and makes its own.
TEST(ForkedProcess, RunsLoops) {
  const int before = thread_count();
  set_thread_count(3);
  std::atomic<int> done{0};
  parallel_for(64, [&](size_t) { ++done; });
  ASSERT_EQ(done, 64);
  const pid_t child = fork();
  if (child == 0) {
    alarm(20);
    set_thread_count(8);
    std::atomic<int> here{0};
    for (int round = 0; round < 50; ++round) parallel_for(64, [&](size_t) { ++here; });
    _exit(here == 50 * 64 ? 0 : 1);
  }
  ASSERT_GT(child, 0);
  int status = -1;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0) << status;
  set_thread_count(before);
}
#endif

}  // namespace
}  // namespace kvsplice
