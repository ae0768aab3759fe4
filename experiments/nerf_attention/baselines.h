// What needs no training: truncated SVD, position bases in closed form, and means.
#pragma once

#include <vector>

#include "experiments/nerf_attention/fits.h"

namespace kvsplice::experiment::nerf {

struct Baseline {
  std::string method;  // svd, dct, fourier, mean (of the rows), rotmean (before RoPE, then rotated)
  Signal signal = Signal::key;
  int layer = 0, head = 0;
  double target = 0;   // of svd: the ratio asked for
  size_t numbers = 0;  // stored, all as f32
  FitRecord quality;   // loss: standardised mean squared error, as of the networks
  double milliseconds = 0;

  double ratio() const { return quality.raw_bytes() / (4.0 * double(numbers)); }
};

// SVD at ratios 2, 4, 8 and 16 as the seed counts them: a few layers, keys and values.
Result<std::vector<Baseline>> svd_baselines(const Sources& sources, const Progress& progress);

// Cosine and Fourier bases of n/16, n/8 and n/4 coefficients, and means, at the sweep's places.
Result<std::vector<Baseline>> closed_forms(const Sources& sources, const Progress& progress);

}  // namespace kvsplice::experiment::nerf
