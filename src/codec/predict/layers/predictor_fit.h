// Predictors from moments.
#pragma once

#include "codec/predict/layers/moments_fit.h"
#include "codec/predict/layers/predictor.h"

namespace kvsplice::codec::layers {

struct SolveOptions {
  std::optional<int> rank;
  double noise = 1e-3;  // mean square that rounding adds to predictions, over the targets' variance
  double ridge = 1e-2;  // added to the inputs' correlation matrix
};

// Least squares over the rows that are not held out, or over all.
Result<Predictor> solve(const Moments& moments, bool all_rows, const SolveOptions& options);

// Bits per token, up to a constant, that the unit costs on the rows held out when it is predicted
// (null: when it is not) and its residual coded at moderate precision.
double held_out_bits(const Moments& moments, const Predictor* predictor);

}  // namespace kvsplice::codec::layers
