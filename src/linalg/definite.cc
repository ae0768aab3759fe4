// Factors and inverses of symmetric positive definite matrices.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "linalg/linalg.h"

namespace kvsplice {

namespace {

Error not_definite(size_t n, size_t row) {
  return {ErrorKind::numeric,
          fmt::format("the matrix of {0} x {0} is not positive definite (at row {1}); more rows or "
                      "a larger ridge would help",
                      n, row)};
}

template <class T>
Result<> check_finite(std::span<const T> values, const char* what) {
  if (std::all_of(values.begin(), values.end(), [](T x) { return std::isfinite(x); })) return {};
  return Error{ErrorKind::numeric,
               fmt::format("{}: the matrix holds a value that is not finite", what)};
}

// row -= factor * by, of `n` values.
template <class T>
void subtract(T* row, T factor, const T* by, size_t n) {
  for (size_t c = 0; c < n; ++c) row[c] -= factor * by[c];
}

// Makes upper triangular u with u^T u = a of the upper triangle of a [n x n]; loops run along rows.
// Returns the row where that fails, or n.
template <class T>
size_t factor_upper(MatrixView<T> a) {
  const size_t n = a.rows;
  for (size_t k = 0; k < n; ++k) {
    if (!(a(k, k) > 0)) return k;
    const T scale = 1 / std::sqrt(a(k, k));
    for (size_t c = k; c < n; ++c) a(k, c) *= scale;
    for (size_t r = k + 1; r < n; ++r) subtract(&a(r, r), a(k, r), &a(k, r), n - r);
  }
  return n;
}

// The inverse of u^T, lower triangular.
template <class T>
void invert_transposed(MatrixView<const T> u, MatrixView<T> out) {
  for (size_t r = 0; r < u.rows; ++r) {
    T* row = &out(r, 0);
    std::fill(row, row + u.rows, T(0));
    for (size_t k = 0; k < r; ++k) subtract(row, u(k, r), &out(k, 0), k + 1);
    row[r] = 1;
    for (size_t c = 0; c <= r; ++c) row[c] /= u(r, r);
  }
}

constexpr size_t kBlock = 32;

// Columns first ... first + n - 1 of the factor, of which those before are done. `below` is room
// for what stands in them under the diagonal block. Returns false if a is not definite.
class BlockColumn {
 public:
  explicit BlockColumn(Matrix<float>& a) : a_(a), below_(a.rows(), kBlock) {}

  // Returns the row where it fails, or the number of rows.
  size_t factor(size_t first) {
    const size_t rows = a_.rows(), n = std::min(kBlock, rows - first);
    const auto column = a_.view().row_range(first, rows - first).col_range(first, n);
    const auto before = a_.view().row_range(first, rows - first).col_range(0, first);
    gemm(Trans::no, Trans::yes, -1.f, before, before.row_range(0, n), 1.f, column);
    const size_t failed = factor_diagonal(column.row_range(0, n));
    if (failed < n) return first + failed;
    const auto below = column.row_range(n, column.rows - n);
    const auto old = below_.view().row_range(0, below.rows).col_range(0, n);
    for (size_t r = 0; r < below.rows; ++r) std::copy_n(&below(r, 0), n, &old(r, 0));
    gemm(Trans::no, Trans::yes, 1.f, old, inverse_.view().row_range(0, n).col_range(0, n), 0.f,
         below);
    return rows;
  }

 private:
  size_t factor_diagonal(MatrixView<float> block) {
    const size_t n = block.rows;
    const auto upper = upper_.view().row_range(0, n).col_range(0, n);
    const auto inverse = inverse_.view().row_range(0, n).col_range(0, n);
    for (size_t r = 0; r < n; ++r) {
      for (size_t c = 0; c <= r; ++c) upper(c, r) = block(r, c);
    }
    const size_t failed = factor_upper(upper);
    if (failed < n) return failed;
    invert_transposed<float>(upper, inverse);
    for (size_t r = 0; r < n; ++r) {
      for (size_t c = 0; c < n; ++c) block(r, c) = c <= r ? upper(c, r) : 0;
    }
    return n;
  }

  Matrix<float>& a_;
  Matrix<float> below_, upper_{kBlock, kBlock}, inverse_{kBlock, kBlock};
};

}  // namespace

Result<Matrix<float>> cholesky(Matrix<float> a) {
  assert(a.rows() == a.cols());
  KVS_TRY(check_finite<float>(a.flat(), "Cholesky factor"));
  BlockColumn column(a);
  for (size_t first = 0; first < a.rows(); first += kBlock) {
    const size_t failed = column.factor(first);
    if (failed < a.rows()) return not_definite(a.rows(), failed);
  }
  for (size_t r = 0; r < a.rows(); ++r) std::fill(a.row(r).begin() + r + 1, a.row(r).end(), 0.f);
  return a;
}

Result<Matrix<double>> inverse_spd(const Matrix<double>& a) {
  assert(a.rows() == a.cols());
  const size_t n = a.rows();
  KVS_TRY(check_finite<double>(a.flat(), "inverse"));
  Matrix<double> upper(n, n), lower(n, n), inverse(n, n);
  for (size_t r = 0; r < n; ++r) {
    for (size_t c = 0; c <= r; ++c) upper(c, r) = a(r, c);
  }
  const size_t failed = factor_upper(upper.view());
  if (failed < n) return not_definite(n, failed);
  invert_transposed<double>(upper, lower);
  for (size_t k = 0; k < n; ++k) {
    for (size_t r = 0; r <= k; ++r) subtract(&inverse(r, 0), -lower(k, r), &lower(k, 0), r + 1);
  }
  for (size_t r = 0; r < n; ++r) {
    for (size_t c = 0; c < r; ++c) inverse(c, r) = inverse(r, c);
  }
  return inverse;
}

}  // namespace kvsplice
