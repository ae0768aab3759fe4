// Where the seed places the knots of its splines.
#pragma once

#include "core/matrix.h"

namespace kvsplice::train {

// Values of every column at the quantiles 0, 1/(K-1), ..., 1: row sorted[floor(q (n - 1))].
// rows: [n x dim], n >= 1; returns [knots x dim].
Matrix<float> quantile_knots(MatrixView<const float> rows, size_t knots);

}  // namespace kvsplice::train
