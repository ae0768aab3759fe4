// Kernel of the quantiser with a dead zone: plain pointers and sizes. All targets give the
// reference's codes.
#pragma once

#include <cstddef>
#include <cstdint>

namespace kvsplice::codec {

// Codes are kept well inside 32 bits so that later arithmetic on them cannot overflow.
inline constexpr float kMostSteps = 1 << 30;

namespace dead_zone_kernel {

struct Row {
  size_t count;
  float step, offset;
  const float* least;  // in steps, by column: smaller magnitudes become 0
  const float* values;
  int32_t* codes;
};

// Returns false if a magnitude is not below kMostSteps, or not a number.
bool quantise(const Row& row);

namespace reference {
bool quantise(const Row& row);
}  // namespace reference

}  // namespace dead_zone_kernel
}  // namespace kvsplice::codec
