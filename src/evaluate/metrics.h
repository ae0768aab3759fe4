// Errors of decoded cache vectors against the originals. A vector is one head of one token.
#pragma once

#include <cstddef>
#include <limits>

#include "core/matrix.h"
#include "kvsplice/result.h"

namespace kvsplice::evaluate {

// Of two equally long vectors; two zero vectors are alike (1), zero and anything else are not (0).
double cosine(std::span<const float> a, std::span<const float> b);

// Sums of squares, from which relative errors follow.
struct ErrorSums {
  size_t count = 0;
  double error = 0;   // sum of (decoded - original)^2
  double energy = 0;  // sum of original^2

  void add(MatrixView<const float> original, MatrixView<const float> decoded);
  ErrorSums& operator+=(const ErrorSums& other);

  double mse() const { return count > 0 ? error / double(count) : 0; }
  // rms error / rms; 0 when both are 0, infinite when only the original is.
  double relative_rms() const;
};

// Collects vectors block by block.
class VectorErrors {
 public:
  // Both [n x heads * head_dim]. A decoded value that is not finite is an error naming its place.
  Result<> add(MatrixView<const float> original, MatrixView<const float> decoded, size_t head_dim);
  VectorErrors& operator+=(const VectorErrors& other);

  size_t vectors() const { return vectors_; }
  double cosine_mean() const;
  double cosine_min() const { return vectors_ > 0 ? least_ : 0; }
  double cosine_std() const;
  const ErrorSums& sums() const { return sums_; }

 private:
  size_t vectors_ = 0;
  // About 1, where cosines of good codecs crowd: a variance from sums about 0 would cancel.
  double below_ = 0, below_squares_ = 0;  // of 1 - cosine
  double least_ = std::numeric_limits<double>::infinity();
  ErrorSums sums_;
};

}  // namespace kvsplice::evaluate
