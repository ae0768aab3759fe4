// BLAS on one thread, for the length of a scope.
#pragma once

#include <cblas.h>

#include "solve/blas_memory.h"
#include "solve/openmp.h"

namespace kvsplice {

// OpenBLAS adds in another order when it has another number of threads, and its threads spin while
// they wait. So every call runs on one thread; parallel work is cut into fixed pieces here. Throws
// std::bad_alloc if there is no memory for a call.
class OneBlasThread {
 public:
  OneBlasThread() {
    if (openblas_get_parallel() == OPENBLAS_THREAD) openblas_set_num_threads(1);
  }
  OneBlasThread(const OneBlasThread&) = delete;
  OneBlasThread& operator=(const OneBlasThread&) = delete;

 private:
  BlasBuffer buffer_;
  OneOpenMpThread one_;  // the OpenMP build asks OpenMP how many there are
};

}  // namespace kvsplice
