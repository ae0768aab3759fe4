#include "codec/quantise/step/dead_zone_fit.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "core/half.h"

namespace kvsplice::codec {

namespace {

// A column in which 1 is rarer than this is as expensive as one in which it has this share.
constexpr double kRarest = 1.0 / 512;

float as_stored(double least) { return from_half(to_half(static_cast<float>(least))); }

float least_one(MatrixView<const float> values, size_t column, float step, double offset,
                double thrift) {
  size_t zeros = 0, ones = 0;
  for (size_t r = 0; r < values.rows; ++r) {
    const double code = std::floor(std::abs(values(r, column)) / step + offset);
    zeros += code == 0;
    ones += code == 1;
  }
  // Either sign of 1 is its own symbol.
  const double rarest = std::max(0.5 * double(ones), kRarest * double(values.rows));
  const double bits = std::max(0.0, std::log2(std::max<double>(double(zeros), 1) / rarest));
  const double least = std::max((1 + thrift * bits) / 2, 1 - offset);
  // At most 1, so that what is decoded has the same code again.
  return as_stored(std::min(least, 1.0));
}

}  // namespace

Result<float> step_of(double delta, double rms) {
  auto step = static_cast<float>(delta * rms);
  if (!(step >= std::numeric_limits<float>::min())) step = static_cast<float>(delta);
  if (std::isfinite(step)) return step;
  return Error{ErrorKind::numeric, fmt::format("rms {} is too large for a step", rms)};
}

DeadZone even_zone(size_t columns, float step, double offset) {
  return DeadZone(step, offset, std::vector<float>(columns, as_stored(1 - offset)));
}

DeadZone adapted_zone(MatrixView<const float> values, float step, double offset, double thrift) {
  std::vector<float> least(values.cols);
  for (size_t c = 0; c < least.size(); ++c) {
    least[c] = least_one(values, c, step, offset, thrift);
  }
  return DeadZone(step, offset, std::move(least));
}

}  // namespace kvsplice::codec
