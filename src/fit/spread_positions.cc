#include "fit/spread_positions.h"

#include <algorithm>
#include <cmath>
#include <numbers>

namespace kvsplice::codec {

std::vector<int32_t> spread_positions(std::span<const int32_t> positions, size_t context) {
  std::vector<int32_t> moved(positions.begin(), positions.end());
  // Multiples of the golden ratio lie evenly, however many texts there are.
  double fraction = 0;
  const auto goes_back = [](int32_t before, int32_t p) { return p <= before; };
  for (auto first = moved.begin(); first != moved.end();) {
    auto end = std::adjacent_find(first, moved.end(), goes_back);
    if (end != moved.end()) ++end;
    const double room = double(context) - 1 - double(*(end - 1));
    const auto by = static_cast<int32_t>(fraction * std::max(room, 0.0));
    std::for_each(first, end, [by](int32_t& p) { p += by; });
    fraction += 1 / std::numbers::phi;
    fraction -= std::floor(fraction);
    first = end;
  }
  return moved;
}

}  // namespace kvsplice::codec
