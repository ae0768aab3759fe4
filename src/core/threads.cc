#include "core/threads.h"

#include <omp.h>

#include <algorithm>
#include <atomic>
#include <exception>
#include <mutex>
#include <utility>
#include <vector>

#include "core/memory.h"

namespace kvsplice {

namespace {

// Of the bodies that threw, the first by number: an exception that left a parallel region would end
// the process.
class FirstThrown {
 public:
  explicit FirstThrown(size_t bodies) : at_(bodies) {}

  bool before(size_t i) const { return at_.load(std::memory_order_relaxed) < i; }

  void note(size_t i) {
    const std::lock_guard lock(mutex_);
    if (before(i)) return;
    at_ = i;
    thrown_ = std::current_exception();
  }

  void rethrow() const {
    if (thrown_) std::rethrow_exception(thrown_);
  }

 private:
  std::atomic<size_t> at_;
  std::exception_ptr thrown_;
  std::mutex mutex_;
};

}  // namespace

int thread_count() { return omp_get_max_threads(); }
void set_thread_count(int n) { omp_set_num_threads(std::max(1, n)); }

void parallel_for(size_t n, const std::function<void(size_t)>& body) {
  FirstThrown thrown(n);
#pragma omp parallel for schedule(dynamic, 1) if (n > 1)
  for (size_t i = 0; i < n; ++i) {
    if (thrown.before(i)) continue;
    try {
      body(i);
    } catch (...) {
      thrown.note(i);
    }
  }
  thrown.rethrow();
}

Result<> parallel_try(size_t n, const std::function<Result<>(size_t)>& body) {
  return within_memory([&]() -> Result<> {
    std::vector<Result<>> results(n);
    parallel_for(n, [&](size_t i) { results[i] = within_memory([&] { return body(i); }); });
    for (auto& result : results) KVS_TRY(std::move(result));
    return {};
  });
}

void parallel_chunks(size_t n, size_t chunk,
                     const std::function<void(size_t first, size_t count)>& body) {
  parallel_for((n + chunk - 1) / chunk, [&](size_t i) {
    const size_t first = i * chunk;
    body(first, std::min(chunk, n - first));
  });
}

}  // namespace kvsplice
