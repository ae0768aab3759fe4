#include "codec/quantise/step/dead_zone.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "codec/checks.h"

namespace kvsplice::codec {

DeadZone::DeadZone(float step, double offset, std::vector<float> least)
    : step_(step), offset_(static_cast<float>(offset)), least_(std::move(least)) {}

bool DeadZone::quantise(std::span<const float> values, std::span<int32_t> codes) const {
  return dead_zone_kernel::quantise({.count = values.size(),
                                     .step = step_,
                                     .offset = offset_,
                                     .least = least_.data(),
                                     .values = values.data(),
                                     .codes = codes.data()});
}

void DeadZone::save(State& state) const {
  state["step"] = {{1}, {step_}};
  state["least"] = {{least_.size()}, least_, Storage::f16};
}

Result<DeadZone> DeadZone::load(const State& state, size_t columns, double offset) {
  KVS_ASSIGN(const StateArray* step, find_array(state, "step", {1}));
  if (!(step->values[0] >= std::numeric_limits<float>::min())) {
    return Error{ErrorKind::format, fmt::format("step {} is not positive", step->values[0])};
  }
  KVS_ASSIGN(const StateArray* least, find_array(state, "least", {columns}));
  return DeadZone(step->values[0], offset, least->values);
}

Error beyond_codes(MatrixView<const float> values, float step) {
  for (size_t r = 0; r < values.rows; ++r) {
    for (size_t c = 0; c < values.cols; ++c) {
      if (std::abs(values(r, c)) / step < kMostSteps) continue;
      return {ErrorKind::numeric,
              fmt::format("value {} at row {}, column {} with step {}; magnitudes below {} can be "
                          "coded",
                          values(r, c), r, c, step, kMostSteps * step)};
    }
  }
  return {ErrorKind::numeric, "a value cannot be coded"};
}

}  // namespace kvsplice::codec
