// Rows that vary with their position, as the study's generated keys do but for their spikes: each
// column a sum of three waves and noise. bench/peers/siren_torch.py draws the same.
#pragma once

#include <cmath>
#include <numbers>

#include "core/matrix.h"
#include "core/random.h"

namespace kvsplice::bench {

inline Matrix<float> waves(size_t rows, size_t columns) {
  constexpr double turn = 2 * std::numbers::pi;
  Random random(0);
  Matrix<float> x(rows, columns);
  for (size_t c = 0; c < columns; ++c) {
    const double f1 = random.uniform(1, 5), f2 = random.uniform(3, 10);
    const double f3 = random.uniform(10, 30), phase = random.uniform(0, turn);
    for (size_t r = 0; r < rows; ++r) {
      const double t = double(r) / double(rows - 1);
      x(r, c) = float(0.5 * std::sin(turn * f1 * t) + 0.3 * std::cos(turn * f2 * t) +
                      0.2 * std::sin(turn * f3 * t + phase) + 0.1 * random.normal());
    }
  }
  return x;
}

}  // namespace kvsplice::bench
