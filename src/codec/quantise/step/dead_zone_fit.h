// How wide the dead zones are.
//
// The dead zone is wider in columns where anything but 0 is rare and so takes many bits: a code of
// 1 has to earn them. With h the bits by which 1 costs more than 0, the error saved by a value of
// magnitude a, a^2 - (a - 1)^2 steps^2, must reach thrift * h, so that a >= (1 + thrift * h) / 2.
// (The slope of distortion over rate at high rate is 2 ln 2 / 12 = .116 steps^2 a bit.)
#pragma once

#include "codec/quantise/step/dead_zone.h"

namespace kvsplice::codec {

// delta rms, or delta where there is no scale: any step stores constant columns.
Result<float> step_of(double delta, double rms);

// All columns alike: below 1 - offset steps is 0.
DeadZone even_zone(size_t columns, float step, double offset);
// For columns like those of `values`; thrift: 0 ... 1.
DeadZone adapted_zone(MatrixView<const float> values, float step, double offset, double thrift);

}  // namespace kvsplice::codec
