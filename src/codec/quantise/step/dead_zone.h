// Uniform quantiser with a dead zone of its own width for every column, in units of one step.
//
// The dead zone is wider in columns where anything but 0 is rare and so takes many bits: a code of
// 1 has to earn them. With h the bits by which 1 costs more than 0, the error saved by a value of
// magnitude a, a^2 - (a - 1)^2 steps^2, must reach thrift * h, so that a >= (1 + thrift * h) / 2.
// (The slope of distortion over rate at high rate is 2 ln 2 / 12 = .116 steps^2 a bit.)
#pragma once

#include <span>
#include <vector>

#include "codec/stage.h"

namespace kvsplice::codec {

// Codes are kept well inside 32 bits so that later arithmetic on them cannot overflow.
inline constexpr float kLargestCode = 1 << 30;

class DeadZone {
 public:
  DeadZone() = default;
  // All columns alike: below 1 - offset steps is 0. offset: .1 ... .5, thrift: 0 ... 1.
  DeadZone(size_t columns, float step, double offset, double thrift);

  size_t columns() const { return least_.size(); }
  float step() const { return step_; }

  // Widens the zones for columns like those of `values`, [n x columns].
  void adapt(MatrixView<const float> values);

  // Returns false if some code would be too large, or a value is not a number.
  bool quantise(std::span<const float> values, std::span<int32_t> codes) const;

  // Adds arrays "step" and "least", or takes them and checks them.
  void save(State& state) const;
  Result<> load(const State& state, size_t columns);

 private:
  float least_one(MatrixView<const float> values, size_t column) const;

  float step_ = 1;
  double offset_ = 0.4, thrift_ = 0;
  std::vector<float> least_;  // per column: the least magnitude, in steps, that becomes 1
};

// delta rms, or delta where there is no scale: any step stores constant columns.
Result<float> step_of(double delta, double rms);

// Where `quantise` failed.
Error beyond_codes(MatrixView<const float> values, float step);

}  // namespace kvsplice::codec
