// Which of several processes this is. mpirun, srun and their like start a command many times and
// say so in variables of the environment; more than that is not needed of them (docs/sweeps.md).
#pragma once

#include <cstddef>
#include <functional>
#include <string>

#include "kvsplice/result.h"

namespace kvsplice::sweep {

struct Rank {
  size_t number = 0;  // below count
  size_t count = 1;

  bool is_alone() const { return count == 1; }
  std::string text() const;  // "rank 0 of 3"
};

// The value of a variable, null if it is not set: as std::getenv.
using Variables = std::function<const char*(const char* name)>;

// Alone if no launcher has left its variables. Error usage if they are no numbers.
Result<Rank> rank_of(const Variables& variables);

}  // namespace kvsplice::sweep
