// The linear algebra that decoding needs, by kernels of our own. Matrices are row-major; shapes are
// stated as [rows x columns]. What needs BLAS and LAPACK is in solve/.
#pragma once

#include <span>
#include <vector>

#include "core/matrix.h"
#include "kvsplice/result.h"

namespace kvsplice {

enum class Trans { no, yes };

// c = alpha * op(a) op(b) + beta * c, where c shares no memory with a or b. A value does not depend
// on the number of threads, nor on which other rows and columns are computed with it; processors
// with fused multiply-adds all get the same.
void gemm(Trans ta, Trans tb, float alpha, MatrixView<const float> a, MatrixView<const float> b,
          float beta, MatrixView<float> c);

// c = l b for lower triangular l [n x n], whose other values are zeros; half the work of gemm, and
// the same values.
void multiply_lower(MatrixView<const float> l, MatrixView<const float> b, MatrixView<float> c);

// How many first columns there are if those behind hold nothing but zeros.
size_t columns_in_use(MatrixView<const float> x);

std::vector<double> column_means(MatrixView<const float> x);  // size x.cols
double rms_about_mean(MatrixView<const float> x);  // of all values, about the mean of their column

// Lower triangular l with l l^T = a, of well-conditioned a [n x n], whose lower triangle is read.
// Error numeric if a is not positive definite.
Result<Matrix<float>> cholesky(Matrix<float> a);

// The inverse of symmetric positive definite a [n x n], whose lower triangle is read; exactly
// symmetric. Error numeric if a is not definite. For a head's width: takes n^3 steps on one thread.
Result<Matrix<double>> inverse_spd(const Matrix<double>& a);

}  // namespace kvsplice
