#include "fit/embedding_basis_fit.h"

#include <fmt/format.h>

#include <algorithm>

#include "solve/solve.h"

namespace kvsplice::codec {

namespace {

constexpr size_t kMostRows = 8192;  // more say no more, and products of wide rows take long

Matrix<float> some_rows(MatrixView<const float> embedded) {
  Matrix<float> some(std::min(embedded.rows, kMostRows), embedded.cols);
  for (size_t i = 0; i < some.rows(); ++i) {
    const auto row = embedded.row(i * embedded.rows / some.rows());
    std::copy(row.begin(), row.end(), some.row(i).begin());
  }
  return some;
}

}  // namespace

Result<EmbeddingBasis> fit_embedding_basis(MatrixView<const float> embedded, size_t count) {
  if (count > embedded.cols) {
    return Error{ErrorKind::usage, fmt::format("{} directions of an embedding of {} values; "
                                               "legal: 1 ... {}",
                                               count, embedded.cols, embedded.cols)};
  }
  const Matrix<float> rows = some_rows(embedded);
  const std::vector<double> mean = column_means(rows);
  KVS_ASSIGN(const Eigen eigen, leading_eigen(scatter(rows, mean, Sums::fast), count));
  return EmbeddingBasis(eigen.vectors);
}

}  // namespace kvsplice::codec
