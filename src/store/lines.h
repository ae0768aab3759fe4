// Objects of a store as conversations: from position 0 to an object that nothing lies behind.
#pragma once

#include <functional>
#include <vector>

#include "store/store.h"

namespace kvsplice::store {

using Line = std::vector<Entry>;  // in the order of their positions

inline size_t tokens_of(const Line& line) {
  return line.back().head.first + line.back().head.count;
}

// Of the objects that are wanted, longest first. Lines share what conversations begin with. What
// does not lead to position 0 is left out.
std::vector<Line> lines_of(const std::vector<Entry>& entries,
                           const std::function<bool(const Entry&)>& wanted);

}  // namespace kvsplice::store
