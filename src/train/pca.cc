#include "train/pca.h"

#include <cassert>

#include "core/threads.h"

namespace kvsplice::train {

namespace {
constexpr size_t kChunk = 256;
}

Result<Pca> fit_pca(MatrixView<const float> rows, size_t rank, Sums sums) {
  assert(rank <= rows.cols && rows.rows > 0);
  const std::vector<double> mean = column_means(rows);
  KVS_ASSIGN(const Eigen eigen, leading_eigen(scatter(rows, mean, sums), rank));
  Pca pca{{mean.begin(), mean.end()}, Matrix<float>(rank, rows.cols), {}};
  for (size_t k = 0; k < rank; ++k) {
    for (size_t c = 0; c < rows.cols; ++c) pca.basis(k, c) = float(eigen.vectors(k, c));
    pca.variance.push_back(eigen.values[k] / double(rows.rows));
  }
  return pca;
}

void project(const Pca& pca, size_t rank, MatrixView<float> x) {
  assert(rank <= pca.basis.rows());
  const MatrixView<const float> basis = pca.basis.view().row_range(0, rank);
  parallel_chunks(x.rows, kChunk, [&](size_t first, size_t n) {
    const MatrixView<float> part = x.row_range(first, n);
    for (size_t r = 0; r < n; ++r) {
      for (size_t c = 0; c < x.cols; ++c) part(r, c) -= pca.mean[c];
    }
    Matrix<float> along(n, rank);
    gemm(Trans::no, Trans::yes, 1.0f, part, basis, 0.0f, along);
    gemm(Trans::no, Trans::no, 1.0f, along, basis, 0.0f, part);
    for (size_t r = 0; r < n; ++r) {
      for (size_t c = 0; c < x.cols; ++c) part(r, c) += pca.mean[c];
    }
  });
}

double mean_squared_error(MatrixView<const float> a, MatrixView<const float> b) {
  assert(a.rows == b.rows && a.cols == b.cols);
  double sum = 0;
  for (size_t r = 0; r < a.rows; ++r) {
    for (size_t c = 0; c < a.cols; ++c) {
      const double d = double(a(r, c)) - double(b(r, c));
      sum += d * d;
    }
  }
  return sum / double(a.rows * a.cols);
}

}  // namespace kvsplice::train
