#include "codec/quantise/step/dead_zone_kernel.h"

#include <algorithm>
#include <cmath>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "codec/quantise/step/dead_zone_kernel.cc"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "codec/quantise/step/dead_zone_kernel-inl.h"

#if HWY_ONCE
namespace kvsplice::codec::dead_zone_kernel {

HWY_EXPORT(quantise);

bool quantise(const Row& row) { return HWY_DYNAMIC_DISPATCH(quantise)(row); }

namespace reference {

bool quantise(const Row& row) {
  bool all_fit = true;
  for (size_t c = 0; c < row.count; ++c) {
    const float magnitude = std::abs(row.values[c]) / row.step;
    const bool fits = magnitude < kMostSteps;
    all_fit &= fits;
    const auto rounded = static_cast<int32_t>((fits ? magnitude : 0) + row.offset);
    const int32_t code = magnitude < row.least[c] ? 0 : std::max(rounded, 1);
    row.codes[c] = row.values[c] < 0 ? -code : code;
  }
  return all_fit;
}

}  // namespace reference

}  // namespace kvsplice::codec::dead_zone_kernel
#endif  // HWY_ONCE
