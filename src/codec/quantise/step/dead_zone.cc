#include "codec/quantise/step/dead_zone.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "codec/checks.h"
#include "core/half.h"

namespace kvsplice::codec {

namespace {

// A column in which 1 is rarer than this is as expensive as one in which it has this share.
constexpr double kRarest = 1.0 / 512;

float as_stored(double least) { return from_half(to_half(static_cast<float>(least))); }

}  // namespace

DeadZone::DeadZone(size_t columns, float step, double offset, double thrift)
    : step_(step), offset_(offset), thrift_(thrift), least_(columns, as_stored(1 - offset)) {}

void DeadZone::adapt(MatrixView<const float> values) {
  for (size_t c = 0; c < least_.size(); ++c) least_[c] = least_one(values, c);
}

float DeadZone::least_one(MatrixView<const float> values, size_t column) const {
  size_t zeros = 0, ones = 0;
  for (size_t r = 0; r < values.rows; ++r) {
    const double code = std::floor(std::abs(values(r, column)) / step_ + offset_);
    zeros += code == 0;
    ones += code == 1;
  }
  // Either sign of 1 is its own symbol.
  const double rarest = std::max(0.5 * double(ones), kRarest * double(values.rows));
  const double bits = std::max(0.0, std::log2(std::max<double>(double(zeros), 1) / rarest));
  const double least = std::max((1 + thrift_ * bits) / 2, 1 - offset_);
  // At most 1, so that what is decoded has the same code again.
  return as_stored(std::min(least, 1.0));
}

bool DeadZone::quantise(std::span<const float> values, std::span<int32_t> codes) const {
  const auto offset = static_cast<float>(offset_);
  bool all_fit = true;
  for (size_t c = 0; c < values.size(); ++c) {
    const float magnitude = std::abs(values[c]) / step_;
    const bool fits = magnitude < kLargestCode;
    all_fit &= fits;
    const auto rounded = static_cast<int32_t>((fits ? magnitude : 0) + offset);
    const int32_t code = magnitude < least_[c] ? 0 : std::max(rounded, 1);
    codes[c] = values[c] < 0 ? -code : code;
  }
  return all_fit;
}

void DeadZone::save(State& state) const {
  state["step"] = {{1}, {step_}};
  state["least"] = {{least_.size()}, least_, Storage::f16};
}

Result<> DeadZone::load(const State& state, size_t columns) {
  KVS_ASSIGN(const StateArray* step, find_array(state, "step", {1}));
  if (!(step->values[0] >= std::numeric_limits<float>::min())) {
    return Error{ErrorKind::format, fmt::format("step {} is not positive", step->values[0])};
  }
  KVS_ASSIGN(const StateArray* least, find_array(state, "least", {columns}));
  step_ = step->values[0];
  least_ = least->values;
  return {};
}

Result<float> step_of(double delta, double rms) {
  auto step = static_cast<float>(delta * rms);
  if (!(step >= std::numeric_limits<float>::min())) step = static_cast<float>(delta);
  if (std::isfinite(step)) return step;
  return Error{ErrorKind::numeric, fmt::format("rms {} is too large for a step", rms)};
}

Error beyond_codes(MatrixView<const float> values, float step) {
  for (size_t r = 0; r < values.rows; ++r) {
    for (size_t c = 0; c < values.cols; ++c) {
      if (std::abs(values(r, c)) / step < kLargestCode) continue;
      return {ErrorKind::numeric,
              fmt::format("value {} at row {}, column {} with step {}; magnitudes below {} can be "
                          "coded",
                          values(r, c), r, c, step, kLargestCode * step)};
    }
  }
  return {ErrorKind::numeric, "a value cannot be coded"};
}

}  // namespace kvsplice::codec
