// Principal components of rows: the linear bottleneck that warps are trained through.
#pragma once

#include <vector>

#include "solve/solve.h"

namespace kvsplice::train {

struct Pca {
  std::vector<float> mean;       // size d
  Matrix<float> basis;           // [rank x d], orthonormal rows, by descending variance
  std::vector<double> variance;  // of the rows along each, size rank
};

// rows: [n x d], n >= 1; rank <= d.
Result<Pca> fit_pca(MatrixView<const float> rows, size_t rank, Sums sums = Sums::exact);

// x becomes its projection on the first `rank` components.
void project(const Pca& pca, size_t rank, MatrixView<float> x);

// Mean of (a - b)^2 over all values.
double mean_squared_error(MatrixView<const float> a, MatrixView<const float> b);

// What the rows lose on the way x -> warp -> rank components -> inverse warp.
template <class Warp>
double warped_pca_error(const Warp& warp, const Pca& pca, size_t rank,
                        MatrixView<const float> rows) {
  Matrix<float> z(rows.rows, rows.cols);
  warp.forward(rows, z);
  project(pca, rank, z);
  Matrix<float> x(rows.rows, rows.cols);
  warp.inverse(z, x);
  return mean_squared_error(x, rows);
}

}  // namespace kvsplice::train
