// How far values are from those that are wanted.
#pragma once

#include <cmath>
#include <span>

namespace kvsplice {

// The rms of the difference over that of `wanted`.
inline double relative_error(std::span<const float> got, std::span<const float> wanted) {
  double off = 0, all = 0;
  for (size_t i = 0; i < got.size(); ++i) {
    off += std::pow(double(got[i]) - wanted[i], 2);
    all += double(wanted[i]) * wanted[i];
  }
  return std::sqrt(off / all);
}

}  // namespace kvsplice
