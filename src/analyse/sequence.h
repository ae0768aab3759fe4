// Rows as a time series: how much of a cache vector its position in the text explains. Definitions
// as in the NeRF-Attention study (docs/analyse.md), on the same sample of dimensions.
#pragma once

#include <array>
#include <cstddef>
#include <vector>

#include "core/matrix.h"
#include "functions/dft.h"

namespace kvsplice::analyse {

// At most 16 dimensions, d/16 apart.
std::vector<size_t> sampled_dimensions(size_t d);

// Lags 0 ... lags of the mean-free signal, sum x[t] x[t + lag] / sum x^2, averaged over the sampled
// dimensions. A constant dimension counts as 0, and so do lags beyond the rows.
std::vector<double> autocorrelation(MatrixView<const float> x, size_t lags);

inline constexpr std::array<double, 4> kLowBands = {0.05, 0.10, 0.25, 0.50};

// Share of the energy in the lowest bins of the spectrum, mean removed, symmetric Hann window,
// averaged over the sampled dimensions; a constant dimension counts as 1. dft.size() == x.rows.
std::array<double, 4> low_frequency_energy(MatrixView<const float> x, const functions::Dft& dft);

// Bits per value that predicting a first-order autoregressive process from its last value saves.
double ar1_gain(double lag1);

}  // namespace kvsplice::analyse
