// Threads: OpenMP behind two calls, and one rule that keeps results independent of their number:
// work is cut into chunks of a fixed size, and partial sums are added in the order of the chunks.
#pragma once

#include <cstddef>
#include <functional>

#include "kvsplice/result.h"

namespace kvsplice {

int thread_count();
void set_thread_count(int n);  // n >= 1

// Calls body(i) for i in [0, n), in any order, on all threads; within a body, on its thread alone.
// If bodies throw, what the first by number threw; bodies behind it may not have run.
void parallel_for(size_t n, const std::function<void(size_t)>& body);

// The same; if bodies fail, the error of the first by number. To run out of memory is to fail.
Result<> parallel_try(size_t n, const std::function<Result<>(size_t)>& body);

// Calls body(first, count) for consecutive chunks of at most `chunk` items.
void parallel_chunks(size_t n, size_t chunk,
                     const std::function<void(size_t first, size_t count)>& body);

}  // namespace kvsplice
