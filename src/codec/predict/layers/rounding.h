// Rounding of a matrix of weights to small integers so that what they predict changes least.
#pragma once

#include <vector>

#include "kvsplice/matrix.h"

namespace kvsplice::codec::layers {

struct Rounded {
  std::vector<float> scale;  // per row
  Matrix<float> codes;       // integers in [-2^(bits-1) + 1, 2^(bits-1) - 1]
};

// weights [m x n]; factor: lower triangular [n x n], factor factor^T = second moments of the
// inputs. Each row is rounded from its last weight to its first, every weight correcting for the
// errors of those behind it (successive interference cancellation; LDLQ in the literature of model
// quantisation).
Rounded round_weights(const Matrix<double>& weights, const Matrix<double>& factor, int bits);

}  // namespace kvsplice::codec::layers
