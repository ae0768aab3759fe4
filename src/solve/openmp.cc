#include "solve/openmp.h"

#include <sched.h>

#include <cstddef>
#include <vector>

extern "C" {
[[gnu::weak]] int omp_get_max_threads();
[[gnu::weak]] void omp_set_num_threads(int n);
[[gnu::weak]] int omp_get_num_places();
[[gnu::weak]] int omp_get_place_num_procs(int place);
[[gnu::weak]] void omp_get_place_proc_ids(int place, int* ids);
}

namespace kvsplice {

OneOpenMpThread::OneOpenMpThread()
    : before_(omp_get_max_threads == nullptr ? 0 : omp_get_max_threads()) {
  if (before_ > 1) omp_set_num_threads(1);
}

OneOpenMpThread::~OneOpenMpThread() {
  if (before_ > 1) omp_set_num_threads(before_);
}

void undo_openmp_binding() {
  if (omp_get_num_places == nullptr) return;
  cpu_set_t all;
  CPU_ZERO(&all);
  for (int place = 0; place < omp_get_num_places(); ++place) {
    std::vector<int> cores(static_cast<size_t>(omp_get_place_num_procs(place)));
    omp_get_place_proc_ids(place, cores.data());
    for (int core : cores) CPU_SET(core, &all);
  }
  if (CPU_COUNT(&all) > 0) sched_setaffinity(0, sizeof all, &all);
}

}  // namespace kvsplice
