#include "host/openmp_threads.h"

namespace kvsplice::host {

OpenMpThreads::OpenMpThreads() {
#ifdef _OPENMP
  team_.count = thread_count();
  use_.emplace(team_);
#endif
}

void OpenMpThreads::Team::run(size_t n, const std::function<void(size_t)>& body) {
#pragma omp parallel for schedule(dynamic, 1) num_threads(count)
  for (size_t i = 0; i < n; ++i) body(i);
}

}  // namespace kvsplice::host
