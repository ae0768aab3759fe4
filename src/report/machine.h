// The machine a result was made on, for manifests.
#pragma once

#include <cstdint>
#include <string>

namespace kvsplice::report {

struct Machine {
  std::string cpu;       // model name as the kernel gives it
  int cores = 0;         // logical processors this process may use
  uint64_t memory = 0;   // bytes
  std::string os;        // distribution and kernel
  std::string compiler;  // that built this library
  std::string simd;      // the Highway target that kernels run at
  std::string blas;      // the core that OpenBLAS's kernels are for
};

Machine this_machine();

}  // namespace kvsplice::report
