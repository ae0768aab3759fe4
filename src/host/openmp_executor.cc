#include "host/openmp_executor.h"

namespace kvsplice::host {

#ifdef _OPENMP

OpenMpThreads::OpenMpThreads() {
  team_.count = thread_count();
  use_.emplace(team_);
}

void OpenMpThreads::Team::run(size_t n, const std::function<void(size_t)>& body) {
#pragma omp parallel for schedule(dynamic, 1) num_threads(count)
  for (size_t i = 0; i < n; ++i) body(i);
}

#else

OpenMpThreads::OpenMpThreads() = default;
void OpenMpThreads::Team::run(size_t n, const std::function<void(size_t)>& body) {
  for (size_t i = 0; i < n; ++i) body(i);
}

#endif

}  // namespace kvsplice::host
