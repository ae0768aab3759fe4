// Warps are trained on rows of about unit deviation, whatever the cache's own scale.
#pragma once

#include <cmath>

#include "linalg/linalg.h"

namespace kvsplice::codec {

// The power of two next to the rms deviation of values from their columns' means; 1 if there is
// none.
inline float unit_scale(MatrixView<const float> rows) {
  const std::vector<double> mean = column_means(rows);
  double squares = 0;
  for (size_t r = 0; r < rows.rows; ++r) {
    for (size_t c = 0; c < rows.cols; ++c) squares += std::pow(rows(r, c) - mean[c], 2);
  }
  const double deviation = std::sqrt(squares / double(rows.rows * rows.cols));
  if (!(deviation > 1e-30)) return 1;
  return float(std::exp2(std::round(std::log2(deviation))));
}

inline Matrix<float> divided(MatrixView<const float> rows, float scale) {
  Matrix<float> out = copy(rows);
  for (float& x : out.flat()) x /= scale;
  return out;
}

}  // namespace kvsplice::codec
