#include "core/threads.h"

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <mutex>
#include <new>
#include <set>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

namespace kvsplice {
namespace {

class Threads : public testing::TestWithParam<int> {
 protected:
  Threads() : before_(thread_count()) { set_thread_count(GetParam()); }
  ~Threads() override { set_thread_count(before_); }

 private:
  int before_;
};

TEST_P(Threads, TheFirstExceptionByNumberComesOut) {
  for (size_t first : {0, 7, 99}) {
    std::string caught;
    try {
      parallel_for(100, [&](size_t i) {
        if (i >= first && i % 2 == first % 2) throw std::runtime_error(std::to_string(i));
      });
    } catch (const std::runtime_error& e) {
      caught = e.what();
    }
    EXPECT_EQ(caught, std::to_string(first));
  }
}

TEST_P(Threads, EveryBodyRunsThatStandsBeforeTheException) {
  std::vector<int> runs(100);
  EXPECT_THROW(parallel_for(100,
                            [&](size_t i) {
                              ++runs[i];
                              if (i == 60) throw std::bad_alloc();
                            }),
               std::bad_alloc);
  for (size_t i = 0; i <= 60; ++i) EXPECT_EQ(runs[i], 1) << i;
}

TEST_P(Threads, ChunksHandOnWhatTheyThrow) {
  EXPECT_THROW(parallel_chunks(1000, 10, [](size_t, size_t) { throw std::bad_alloc(); }),
               std::bad_alloc);
}

TEST_P(Threads, WantOfMemoryIsAnErrorLikeOthers) {
  const auto at = [](size_t memory, size_t other) {
    return parallel_try(50, [=](size_t i) -> Result<> {
      if (i == memory) throw std::bad_alloc();
      if (i == other) return Error{ErrorKind::format, "other"};
      return {};
    });
  };
  EXPECT_TRUE(at(50, 50).ok());
  EXPECT_EQ(at(3, 50).error().kind, ErrorKind::memory);
  EXPECT_EQ(at(3, 50).error().message, "out of memory");
  EXPECT_EQ(at(3, 9).error().kind, ErrorKind::memory);
  EXPECT_EQ(at(9, 3).error().kind, ErrorKind::format);
  const auto absurd = parallel_try(2, [](size_t) -> Result<> {
    std::vector<char>().reserve(~size_t{0});
    return {};
  });
  EXPECT_EQ(absurd.error().kind, ErrorKind::memory);
  EXPECT_THROW((void)parallel_try(3, [](size_t) -> Result<> { throw std::logic_error("a bug"); }),
               std::logic_error);
}

TEST_P(Threads, EveryBodyRunsOnce) {
  for (size_t n : {0, 1, 2, 3, 1000}) {
    for (int repeat = 0; repeat < 50; ++repeat) {
      std::vector<int> runs(n);
      parallel_for(n, [&](size_t i) { ++runs[i]; });
      ASSERT_EQ(runs, std::vector<int>(n, 1));
    }
  }
}

TEST_P(Threads, InnerLoopsRunOnTheThreadOfTheirBody) {
  parallel_for(20, [&](size_t) {
    const auto self = std::this_thread::get_id();
    EXPECT_EQ(thread_count(), 1);
    parallel_for(5, [&](size_t) { EXPECT_EQ(std::this_thread::get_id(), self); });
  });
  EXPECT_EQ(thread_count(), GetParam());
}

// Whoever waits for the pool would not return.
TEST_P(Threads, LoopsOfSeveralThreadsRunAtOnce) {
  std::vector<std::thread> callers;
  std::atomic<size_t> sum = 0;
  for (int caller = 0; caller < 5; ++caller) {
    callers.emplace_back([&] {
      for (int repeat = 0; repeat < 200; ++repeat) {
        std::vector<size_t> made(7);
        parallel_for(made.size(), [&](size_t i) { made[i] = i + 1; });
        for (size_t v : made) sum += v;
      }
    });
  }
  for (std::thread& caller : callers) caller.join();
  EXPECT_EQ(sum, 5u * 200 * 28);
}

TEST_P(Threads, AnExceptionOfOneLoopIsNotThatOfAnother) {
  std::thread other([] {
    for (int repeat = 0; repeat < 100; ++repeat) {
      EXPECT_THROW(parallel_for(4, [](size_t) { throw std::bad_alloc(); }), std::bad_alloc);
    }
  });
  for (int repeat = 0; repeat < 100; ++repeat) parallel_for(4, [](size_t) {});
  other.join();
}

INSTANTIATE_TEST_SUITE_P(OfOneAndMore, Threads, testing::Values(1, 3));

std::set<std::thread::id> threads_of(size_t n) {
  std::mutex mutex;
  std::set<std::thread::id> seen;
  parallel_for(n, [&](size_t) {
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
    const std::lock_guard lock(mutex);
    seen.insert(std::this_thread::get_id());
  });
  return seen;
}

TEST(ThreadCount, IsHowManyWorkAtOnce) {
  const int before = thread_count();
  for (int n : {4, 1, 2}) {
    set_thread_count(n);
    std::thread([&] { EXPECT_EQ(thread_count(), n); }).join();
    const auto seen = threads_of(20);
    EXPECT_EQ(seen.size(), static_cast<size_t>(n));
    EXPECT_TRUE(seen.contains(std::this_thread::get_id()));
  }
  set_thread_count(before);
}

TEST(ThreadCount, OfOneBodyIsLeftToTheLoopsInIt) {
  const int before = thread_count();
  set_thread_count(3);
  size_t seen = 0;
  parallel_for(1, [&](size_t) { seen = threads_of(12).size(); });
  EXPECT_EQ(seen, 3u);
  set_thread_count(before);
}

// Runs bodies on threads of its own, backwards.
class Engine : public Executor {
 public:
  explicit Engine(int n) : threads_(n) {}
  int threads() const override { return threads_; }
  void run(size_t n, const std::function<void(size_t)>& body) override {
    ++loops;
    std::vector<std::thread> own;
    for (size_t i = n; i-- > 0;) {
      own.emplace_back([&body, i] { body(i); });
    }
    for (std::thread& thread : own) thread.join();
  }
  int loops = 0;

 private:
  int threads_;
};

TEST(UseExecutor, LoopsOfTheScopeRunOnItsThreads) {
  Engine engine(3), inner(7);
  const int before = thread_count();
  {
    const UseExecutor scope(engine);
    EXPECT_EQ(thread_count(), 3);
    EXPECT_FALSE(threads_of(6).contains(std::this_thread::get_id()));
    std::thread([&] { EXPECT_EQ(thread_count(), before); }).join();
    {
      const UseExecutor nested(inner);
      EXPECT_EQ(thread_count(), 7);
    }
    EXPECT_EQ(thread_count(), 3);
  }
  EXPECT_EQ(thread_count(), before);
  threads_of(2);
  EXPECT_EQ(engine.loops, 1);
}

TEST(UseExecutor, InnerLoopsStayWhereTheyAreAndExceptionsComeOut) {
  Engine engine(3);
  const UseExecutor scope(engine);
  parallel_for(4, [&](size_t) {
    const auto self = std::this_thread::get_id();
    parallel_for(5, [&](size_t) { EXPECT_EQ(std::this_thread::get_id(), self); });
  });
  EXPECT_EQ(engine.loops, 1);
  std::string caught;
  try {
    parallel_for(9, [](size_t i) {
      if (i >= 4) throw std::runtime_error(std::to_string(i));
    });
  } catch (const std::runtime_error& e) {
    caught = e.what();
  }
  EXPECT_EQ(caught, "4");
}

TEST(UseExecutor, OfOneThreadIsNotAsked) {
  Engine engine(1);
  const UseExecutor scope(engine);
  parallel_for(5, [](size_t) {});
  EXPECT_EQ(engine.loops, 0);
}

}  // namespace
}  // namespace kvsplice
