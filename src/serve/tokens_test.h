// Prompts for tests.
#pragma once

#include <cstdint>
#include <numeric>
#include <vector>

namespace kvsplice::serve {

// first, first + 1, ...
inline std::vector<int32_t> tokens(int first, size_t n) {
  std::vector<int32_t> all(n);
  std::iota(all.begin(), all.end(), first);
  return all;
}

}  // namespace kvsplice::serve
