// Linear read-outs of position features, solved in closed form.
#pragma once

#include "core/matrix.h"
#include "kvsplice/result.h"

namespace kvsplice::functions {

// W [features x targets] that minimises |features W - targets|^2 + ridge * m |W|^2, m the mean
// square length of a feature's column; normal equations in double. The default ridge is far below
// what the error notices and keeps weights of nearly dependent features small enough for float.
Result<Matrix<double>> least_squares(MatrixView<const float> features,
                                     MatrixView<const float> targets, double ridge = 1e-9);

}  // namespace kvsplice::functions
