// Random Fourier features of the position: sines and cosines of a position in [0, 1].
#pragma once

#include <cstdint>
#include <vector>

#include "core/matrix.h"

namespace kvsplice::functions {

// `count` frequencies in cycles, one drawn from each of `count` equal parts of [0, band].
std::vector<float> fourier_frequencies(size_t count, double band, uint64_t seed);

// [positions x 2 * frequencies + 1]: cosines, sines, then a column of 1.
Matrix<float> fourier_features(std::span<const float> frequencies, size_t rows);

}  // namespace kvsplice::functions
