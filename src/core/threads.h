// Threads, and one rule that keeps results independent of their number: work is cut into chunks of
// a fixed size, and partial sums are added in the order of the chunks. Threads are made when a loop
// first wants them and sleep while none does. Loops may be started on several threads at once; they
// then share what is there.
#pragma once

#include <cstddef>
#include <functional>

#include "kvsplice/result.h"

namespace kvsplice {

// How many threads a loop that starts here would run on: 1 within a body. Unless it is set, as many
// as OMP_NUM_THREADS says, or as there are processors for this process.
int thread_count();
void set_thread_count(int n);  // n >= 1; for the whole process

// Calls body(i) for i in [0, n), in any order, on all threads; within a body, on its thread alone.
// If bodies throw, what the first by number threw; bodies behind it may not have run.
void parallel_for(size_t n, const std::function<void(size_t)>& body);

// The same; if bodies fail, the error of the first by number. To run out of memory is to fail.
Result<> parallel_try(size_t n, const std::function<Result<>(size_t)>& body);

// Calls body(first, count) for consecutive chunks of at most `chunk` items.
void parallel_chunks(size_t n, size_t chunk,
                     const std::function<void(size_t first, size_t count)>& body);

// Threads of somebody else's, such as those of an engine.
class Executor {
 public:
  virtual ~Executor() = default;
  virtual int threads() const = 0;
  // Calls body(i) for i in [0, n), in any order, and returns when all have returned. Bodies do not
  // throw.
  virtual void run(size_t n, const std::function<void(size_t)>& body) = 0;
};

// For the length of a scope, loops that the calling thread starts run on these threads.
class UseExecutor {
 public:
  explicit UseExecutor(Executor& executor);
  ~UseExecutor();
  UseExecutor(const UseExecutor&) = delete;
  UseExecutor& operator=(const UseExecutor&) = delete;

 private:
  Executor* before_;
};

}  // namespace kvsplice
