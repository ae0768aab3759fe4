// What the fits of trained warps share.
#pragma once

#include <cmath>

#include "codec/warp/training.h"
#include "linalg/linalg.h"
#include "train/warp_fit.h"

namespace kvsplice::codec {

inline train::WarpFitOptions options_of(const WarpTraining& training) {
  train::WarpFitOptions options;
  options.epochs = size_t(training.epochs);
  options.batch = size_t(training.batch);
  options.optimiser.rate = training.lr;
  options.optimiser.decay = training.decay;
  options.seed = uint64_t(training.seed);
  return options;
}

// Warps are trained on rows of about unit deviation, whatever the cache's own scale. Rows are
// divided by the power of two that is next to the rms deviation of values from their columns'
// means, or by 1 if they do not deviate.
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
