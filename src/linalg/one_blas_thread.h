// BLAS on one thread, for the length of a scope.
#pragma once

#include <cblas.h>

#include "core/threads.h"
#include "linalg/blas_memory.h"

namespace kvsplice {

// OpenBLAS adds in another order when it has another number of threads, and its threads spin while
// they wait. So every call runs on one thread; parallel work is cut into fixed pieces here. Throws
// std::bad_alloc if there is no memory for a call.
class OneBlasThread {
 public:
  OneBlasThread() : before_(thread_count()) {
    set_thread_count(1);  // the OpenMP build asks OpenMP, for the calling thread only
    if (openblas_get_parallel() == OPENBLAS_THREAD) openblas_set_num_threads(1);
  }
  ~OneBlasThread() { set_thread_count(before_); }
  OneBlasThread(const OneBlasThread&) = delete;
  OneBlasThread& operator=(const OneBlasThread&) = delete;

 private:
  BlasBuffer buffer_;
  int before_;
};

}  // namespace kvsplice
