#include "linalg/small.h"

#include <fmt/format.h>

#include <algorithm>
#include <cassert>
#include <cmath>

#include "core/threads.h"
#include "linalg/column_products_kernel.h"

namespace kvsplice {

namespace {

using column_products_kernel::Columns;

constexpr size_t kRows = 64;   // converted to double at a time
constexpr size_t kBlock = 32;  // columns of a product for one thread; rows of a step of the factor

void to_doubles(MatrixView<const float> from, double* to) {
  for (size_t r = 0; r < from.rows; ++r, to += from.cols) {
    std::copy_n(&from(r, 0), from.cols, to);
  }
}

// out [x.cols x y.cols] += x^T y, on the caller's thread.
void add_products(MatrixView<const float> x, MatrixView<const float> y, double* out,
                  size_t stride) {
  AlignedVector<double> left(kRows * x.cols), right(kRows * y.cols);
  for (size_t first = 0; first < x.rows; first += kRows) {
    const size_t n = std::min(kRows, x.rows - first);
    to_doubles(x.row_range(first, n), left.data());
    to_doubles(y.row_range(first, n), right.data());
    column_products_kernel::add(n, {left.data(), x.cols, x.cols}, {right.data(), y.cols, y.cols}, 1,
                                out, stride);
  }
}

// to -= factor * from.
void subtract(double factor, const double* from, size_t n, double* to) {
  for (size_t i = 0; i < n; ++i) to[i] -= factor * from[i];
}

// The upper triangle of a becomes that of u, u^T u = a.
Result<> factorise(Matrix<double>& a) {
  const size_t n = a.rows();
  for (size_t first = 0; first < n; first += kBlock) {
    const size_t last = std::min(first + kBlock, n);
    for (size_t k = first; k < last; ++k) {
      double* const row = a.row(k).data();
      if (!(row[k] > 0 && std::isfinite(row[k]))) {
        return Error{
            ErrorKind::numeric,
            fmt::format("the matrix of {0} x {0} is not positive definite (at row {1})", n, k)};
      }
      const double scale = 1 / std::sqrt(row[k]);
      for (size_t j = k; j < n; ++j) row[j] *= scale;
      for (size_t i = k + 1; i < last; ++i) subtract(row[i], row + i, n - i, &a(i, i));
    }
    for (size_t i = last; i < n; i += kBlock) {
      const double* const above = &a(first, i);
      column_products_kernel::add(last - first, {above, n, std::min(kBlock, n - i)},
                                  {above, n, n - i}, -1, &a(i, i), n);
    }
  }
  return {};
}

// b becomes x, u^T x = b.
void solve_forward(const Matrix<double>& u, Matrix<double>& b) {
  const size_t n = u.rows(), m = b.cols();
  for (size_t first = 0; first < n; first += kBlock) {
    const size_t last = std::min(first + kBlock, n);
    for (size_t k = first; k < last; ++k) {
      for (double& v : b.row(k)) v /= u(k, k);
      for (size_t i = k + 1; i < last; ++i) subtract(u(k, i), &b(k, 0), m, &b(i, 0));
    }
    if (last == n) break;
    column_products_kernel::add(last - first, {&u(first, last), n, n - last}, {&b(first, 0), m, m},
                                -1, &b(last, 0), m);
  }
}

// b becomes x, u x = b.
void solve_backward(const Matrix<double>& u, Matrix<double>& b) {
  for (size_t k = u.rows(); k-- > 0;) {
    for (size_t j = k + 1; j < u.rows(); ++j) subtract(u(k, j), &b(j, 0), b.cols(), &b(k, 0));
    for (double& v : b.row(k)) v /= u(k, k);
  }
}

}  // namespace

Matrix<double> column_products(MatrixView<const float> x, MatrixView<const float> y) {
  assert(x.rows == y.rows);
  Matrix<double> out(x.cols, y.cols);
  if (out.empty()) return out;
  parallel_chunks(x.cols, kBlock, [&](size_t first, size_t n) {
    add_products(x.col_range(first, n), y, &out(first, 0), y.cols);
  });
  return out;
}

Matrix<double> column_products(MatrixView<const float> x) {
  const size_t n = x.cols;
  Matrix<double> out(n, n);
  parallel_chunks(n, kBlock, [&](size_t first, size_t count) {
    add_products(x.col_range(first, count), x.col_range(first, n - first), &out(first, first), n);
  });
  for (size_t i = 0; i < n; ++i) {
    for (size_t j = 0; j < i; ++j) out(i, j) = out(j, i);
  }
  return out;
}

Result<Matrix<double>> solve_spd_small(Matrix<double> a, Matrix<double> b) {
  assert(a.rows() == a.cols() && a.rows() == b.rows());
  const auto finite = [](double v) { return std::isfinite(v); };
  if (!std::all_of(b.flat().begin(), b.flat().end(), finite)) {
    return Error{ErrorKind::numeric, "least squares: a number is not finite"};
  }
  KVS_TRY(factorise(a));
  if (b.empty()) return b;
  solve_forward(a, b);
  solve_backward(a, b);
  return b;
}

}  // namespace kvsplice
