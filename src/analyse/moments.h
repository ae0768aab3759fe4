// First and second moments of rows. They add up, so that texts and layers can be read one by one.
#pragma once

#include <cstddef>
#include <vector>

#include "core/matrix.h"

namespace kvsplice::analyse {

struct Moments {
  size_t count = 0;
  std::vector<double> sum;  // size width
  Matrix<double> products;  // sum of x x^T, [width x width]

  Moments() = default;
  explicit Moments(MatrixView<const float> rows);
  Moments& operator+=(const Moments& other);  // of the same width, or onto an empty one

  size_t width() const { return sum.size(); }
  Moments columns(size_t first, size_t n) const;

  std::vector<double> mean() const;
  // Mean of (x - centre)(x - centre)^T; about its own mean, the covariance.
  Matrix<double> second_moment(const std::vector<double>& centre) const;
  Matrix<double> covariance() const { return second_moment(mean()); }
  double energy() const;      // mean of |x|^2
  double mean_share() const;  // |mean|^2 / energy, 0 without energy
};

// Fourth standardised moment less 3, averaged over the columns that vary; 0 for a normal
// distribution, positive for heavier tails.
double excess_kurtosis(MatrixView<const float> x);

}  // namespace kvsplice::analyse
