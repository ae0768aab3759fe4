// Whose kernels OpenBLAS runs. It chooses them while it is loaded, by a list of processors; on one
// younger than the list, Debian 12's runs kernels of 2004, three times slower than the right ones.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "kvsplice/result.h"

namespace kvsplice {

struct BlasCore {
  std::string name;       // OpenBLAS's name of the processor the kernels were made for
  std::string corrected;  // the one it had chosen before, if it was corrected
  bool by_user = false;   // OPENBLAS_CORETYPE was set

  std::string text() const;  // for people and manifests
};
BlasCore blas_core();

// The core OpenBLAS should take instead of `core` on a processor with these simd_targets(), if
// `core` is of an older kind.
std::optional<std::string> better_core(const std::string& core,
                                       const std::vector<std::string>& targets);

// For a program, at the start of main: where OpenBLAS chose a core of an older kind than the
// processor is, starts the program again with a better one. The new one returns with the
// environment as it was. OPENBLAS_CORETYPE, if set, is left alone. An error says why the old core
// stays; all works, but slowly. Also undoes what OpenMP has bound the first thread to.
Result<> correct_blas_core(char** argv);

}  // namespace kvsplice
