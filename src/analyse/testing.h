// Rows with known statistics, for tests.
#pragma once

#include <cmath>
#include <numbers>
#include <span>

#include "core/matrix.h"
#include "core/random.h"

namespace kvsplice::analyse::testing {

inline Matrix<float> white(size_t rows, size_t cols, uint64_t seed) {
  Random random(seed);
  Matrix<float> x(rows, cols);
  for (float& v : x.flat()) v = static_cast<float>(random.normal());
  return x;
}

// Every column a stationary first-order autoregressive process of variance 1.
inline Matrix<float> ar1(size_t rows, size_t cols, double rho, uint64_t seed) {
  Matrix<float> x = white(rows, cols, seed);
  const auto fresh = static_cast<float>(std::sqrt(1 - rho * rho));
  for (size_t t = 1; t < rows; ++t) {
    for (size_t c = 0; c < cols; ++c) {
      x(t, c) = static_cast<float>(rho) * x(t - 1, c) + fresh * x(t, c);
    }
  }
  return x;
}

// Every column cos(2 pi cycles t / rows).
inline Matrix<float> tone(size_t rows, size_t cols, double cycles) {
  Matrix<float> x(rows, cols);
  for (size_t t = 0; t < rows; ++t) {
    const double angle = 2 * std::numbers::pi * cycles * double(t) / double(rows);
    for (float& v : x.row(t)) v = static_cast<float>(std::cos(angle));
  }
  return x;
}

// Independent normal coordinates of these variances, turned by the reflection that mixes all of
// them: the covariance has exactly these eigenvalues, and no coordinate shows them.
inline Matrix<float> mixed(size_t rows, std::span<const double> variances, uint64_t seed) {
  Matrix<float> x = white(rows, variances.size(), seed);
  const double d = double(variances.size());
  for (size_t r = 0; r < rows; ++r) {
    double sum = 0;
    for (size_t c = 0; c < variances.size(); ++c) {
      sum += x(r, c) *= static_cast<float>(std::sqrt(variances[c]));
    }
    for (float& v : x.row(r)) v -= static_cast<float>(2 * sum / d);
  }
  return x;
}

}  // namespace kvsplice::analyse::testing
