// Uniform quantiser with a dead zone of its own width for every column, in units of one step.
#pragma once

#include <span>
#include <vector>

#include "codec/quantise/step/dead_zone_kernel.h"
#include "codec/stage.h"

namespace kvsplice::codec {

class DeadZone {
 public:
  DeadZone() = default;
  // least: for each column the least magnitude, in steps, that becomes 1. Larger ones are rounded
  // up if no more than `offset` steps are missing; offset: .1 ... .5.
  DeadZone(float step, double offset, std::vector<float> least);

  size_t columns() const { return least_.size(); }
  float step() const { return step_; }

  // Returns false if some code would be too large, or a value is not a number.
  bool quantise(std::span<const float> values, std::span<int32_t> codes) const;

  // Adds arrays "step" and "least", or takes them and checks them.
  void save(State& state) const;
  static Result<DeadZone> load(const State& state, size_t columns, double offset);

 private:
  float step_ = 1;
  float offset_ = 0.4f;
  std::vector<float> least_;
};

// Where `quantise` failed.
Error beyond_codes(MatrixView<const float> values, float step);

}  // namespace kvsplice::codec
