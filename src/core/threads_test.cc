#include "core/threads.h"

#include <gtest/gtest.h>

#include <new>
#include <stdexcept>
#include <string>

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

INSTANTIATE_TEST_SUITE_P(OfOneAndMore, Threads, testing::Values(1, 3));

}  // namespace
}  // namespace kvsplice
