// Least squares of some hundreds of unknowns, for codecs that solve them while they code. What
// fitting needs is in solve/, and faster there.
#pragma once

#include "core/matrix.h"
#include "kvsplice/result.h"

namespace kvsplice {

// x^T y, summed in double: [x.cols x y.cols].
Matrix<double> column_products(MatrixView<const float> x, MatrixView<const float> y);
// x^T x.
Matrix<double> column_products(MatrixView<const float> x);

// Solves a x = b for symmetric positive definite a [n x n], of which the upper triangle is read,
// and b [n x m]. Error numeric if a is not definite or a number is not finite.
Result<Matrix<double>> solve_spd_small(Matrix<double> a, Matrix<double> b);

}  // namespace kvsplice
