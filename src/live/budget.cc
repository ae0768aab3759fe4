#include "live/budget.h"

#include <algorithm>

namespace kvsplice::live {

namespace {

// Of `tokens` that are coded, of those that attention can still see. A window may begin and end
// within a group.
size_t kept_groups(const LayerShape& shape, size_t tokens) {
  const size_t all = (tokens + kGroup - 1) / kGroup;
  return shape.window > 0 ? std::min(all, size_t(shape.window) / kGroup + 2) : all;
}

}  // namespace

uint64_t Budget::bytes(size_t tokens) const {
  const size_t exact = std::min(tokens, most_exact());
  uint64_t bytes = form_.table_bytes();
  for (size_t l = 0; l < form_.shape().layers.size(); ++l) {
    bytes +=
        exact * LayerCache::row_bytes(form_, l) +
        kept_groups(form_.shape().layers[l], tokens - exact) * LayerCache::group_bytes(form_, l);
  }
  return bytes;
}

size_t Budget::tokens(uint64_t bytes, size_t most) const {
  size_t low = 0, high = most;  // none is too many for nothing but tables
  while (low < high) {
    const size_t middle = high - (high - low) / 2;
    if (this->bytes(middle) <= bytes) {
      low = middle;
    } else {
      high = middle - 1;
    }
  }
  return low;
}

}  // namespace kvsplice::live
