// Rounding of a matrix of weights to small integers so that what they predict changes least.
#pragma once

#include <span>

#include "codec/predict/layers/predictor.h"

namespace kvsplice::codec::layers {

// Integer codes [m x n] of weights [m x n] on a grid of its own for each row: `steps`, size m, at
// least 0; rows of step 0 get codes 0. factor: lower triangular [n x n], factor factor^T = second
// moments of the inputs. Each row is rounded from its last weight to its first, every weight
// correcting for the errors of those behind it (successive interference cancellation; LDLQ in the
// literature of model quantisation). That leaves the mean square of what a row predicts changed by
// steps^2 / 12 times the sum of the factor's squared diagonal, codes within their limits.
Matrix<float> round_weights(const Matrix<double>& weights, const Matrix<double>& factor,
                            std::span<const float> steps);

}  // namespace kvsplice::codec::layers
