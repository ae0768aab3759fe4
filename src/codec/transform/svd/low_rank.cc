#include "codec/transform/svd/low_rank.h"

#include <algorithm>
#include <cmath>

#include "linalg/linalg.h"
#include "linalg/small.h"
#include "linalg/small_eigen.h"

namespace kvsplice::codec {

namespace {

Matrix<float> transposed(MatrixView<const float> a) {
  Matrix<float> t(a.cols, a.rows);
  for (size_t r = 0; r < a.rows; ++r) {
    for (size_t c = 0; c < a.cols; ++c) t(c, r) = a(r, c);
  }
  return t;
}

// Returns the lengths of the rows, and makes them 1; rows of zeros stay.
std::vector<float> normalise_rows(Matrix<float>& m) {
  std::vector<float> lengths;
  for (size_t i = 0; i < m.rows(); ++i) {
    double sum = 0;
    for (float x : m.row(i)) sum += double(x) * x;
    lengths.push_back(static_cast<float>(std::sqrt(sum)));
    if (lengths[i] == 0) continue;
    for (float& x : m.row(i)) x /= lengths[i];
  }
  return lengths;
}

void fix_signs(LowRank& made) {
  for (size_t i = 0; i < made.values.size(); ++i) {
    const std::span<float> row = made.vt.row(i);
    const float largest = *std::max_element(
        row.begin(), row.end(), [](float a, float b) { return std::abs(a) < std::abs(b); });
    if (largest >= 0) continue;
    for (float& x : row) x = -x;
    for (size_t t = 0; t < made.u.rows(); ++t) made.u(t, i) = -made.u(t, i);
  }
}

}  // namespace

Result<LowRank> low_rank(MatrixView<const float> a, size_t rank) {
  assert(rank <= std::min(a.rows, a.cols));
  const bool tall = a.rows >= a.cols;
  // Eigenvectors of the smaller Gram matrix are one side; multiplying a with them gives the other.
  KVS_ASSIGN(const EigenPairs eigen, small_eigen(column_products(tall ? a : transposed(a).view())));
  Matrix<float> known(rank, std::min(a.rows, a.cols)), other(rank, std::max(a.rows, a.cols));
  std::copy_n(eigen.vectors.data(), known.size(), known.data());
  gemm(Trans::no, tall ? Trans::yes : Trans::no, 1.f, known, a, 0.f, other);
  std::vector<float> values = normalise_rows(other);
  LowRank made{transposed(tall ? other : known), std::move(values), tall ? known : other};
  fix_signs(made);
  return made;
}

}  // namespace kvsplice::codec
