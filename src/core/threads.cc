#include "core/threads.h"

#include <omp.h>

#include <algorithm>
#include <utility>
#include <vector>

namespace kvsplice {

int thread_count() { return omp_get_max_threads(); }
void set_thread_count(int n) { omp_set_num_threads(std::max(1, n)); }

void parallel_for(size_t n, const std::function<void(size_t)>& body) {
#pragma omp parallel for schedule(dynamic, 1) if (n > 1)
  for (size_t i = 0; i < n; ++i) body(i);
}

Result<> parallel_try(size_t n, const std::function<Result<>(size_t)>& body) {
  std::vector<Result<>> results(n);
  parallel_for(n, [&](size_t i) { results[i] = body(i); });
  for (auto& result : results) KVS_TRY(std::move(result));
  return {};
}

void parallel_chunks(size_t n, size_t chunk,
                     const std::function<void(size_t first, size_t count)>& body) {
  parallel_for((n + chunk - 1) / chunk, [&](size_t i) {
    const size_t first = i * chunk;
    body(first, std::min(chunk, n - first));
  });
}

}  // namespace kvsplice
