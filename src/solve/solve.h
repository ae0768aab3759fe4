// Dense linear algebra behind a few functions (OpenBLAS, LAPACK): what fitting needs beyond
// linalg/. Matrices are row-major; shapes are stated as [rows x columns]. Statistics accumulate in
// double: float Gram matrices lose definiteness.
#pragma once

#include <span>
#include <vector>

#include "core/matrix.h"
#include "kvsplice/result.h"
#include "linalg/linalg.h"

namespace kvsplice {

// c = alpha * op(a) op(b) + beta * c.
void gemm(Trans ta, Trans tb, double alpha, MatrixView<const double> a, MatrixView<const double> b,
          double beta, MatrixView<double> c);

// How sums over rows are made: in double throughout, or in float over 64 rows at a time, which
// takes half the time. Fast sums are for eigenvectors: eigenvalues of 1e-6 of the largest are good
// to 1e-3.
enum class Sums { exact, fast };

// Sum over rows of (x - mean)(x - mean)^T, [cols x cols], not divided by the number of rows.
// An empty mean stands for zeros.
Matrix<double> scatter(MatrixView<const float> x, std::span<const double> mean,
                       Sums sums = Sums::exact);
// Sum over rows of (x - x_mean)(y - y_mean)^T, [x.cols x y.cols].
Matrix<double> cross_scatter(MatrixView<const float> x, std::span<const double> x_mean,
                             MatrixView<const float> y, std::span<const double> y_mean);

struct Eigen {
  std::vector<double> values;  // descending
  Matrix<double> vectors;      // row i belongs to values[i]; unit length; the entry of largest
                               // magnitude is positive, so that the result has one sign
};
Result<Eigen> symmetric_eigen(Matrix<double> a);  // a: [n x n], upper triangle read
// Of the `count` <= n largest values; faster for a few.
Result<Eigen> leading_eigen(Matrix<double> a, size_t count);

struct Svd {
  Matrix<float> u;            // [n x r]
  std::vector<float> values;  // descending, size r = min(n, d)
  Matrix<float> vt;           // [r x d]; signs as for Eigen
};
Result<Svd> thin_svd(MatrixView<const float> a);
Result<std::vector<double>> singular_values(MatrixView<const float> a);

// Lower triangular l with l l^T = a; error numeric if a [n x n] is not positive definite.
Result<Matrix<double>> cholesky(Matrix<double> a);
// Solves l l^T x = b [n x m].
Matrix<double> solve_with_factor(const Matrix<double>& l, Matrix<double> b);

// Solves a x = b for symmetric positive definite a [n x n], b [n x m]; error numeric if not
// definite.
Result<Matrix<double>> solve_spd(Matrix<double> a, Matrix<double> b);

}  // namespace kvsplice
