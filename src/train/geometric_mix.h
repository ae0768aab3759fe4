// GeometricMix, the KVSplice seed's data: a curve in one scalar, spread over 128 columns, plus
// noise. Drawn with NumPy's generator in the seed's order, so that seed 13 gives the seed's own
// rows.
#pragma once

#include <cstdint>

#include "core/matrix.h"
#include "kvsplice/result.h"

namespace kvsplice::train {

struct GeometricMixOptions {
  size_t rows = 6000;
  size_t dim = 128;     // at most 144
  double noise = 0.03;  // standard deviation; columns of the curve itself have 1
  uint64_t seed = 13;
};

struct GeometricMix {
  Matrix<float> train;  // the first 75 % of the rows
  Matrix<float> test;
};

Result<GeometricMix> geometric_mix(const GeometricMixOptions& options = {});

}  // namespace kvsplice::train
