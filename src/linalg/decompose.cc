#include <cblas.h>
#include <fmt/format.h>
#include <lapacke.h>

#include <algorithm>
#include <cmath>

#include "core/threads.h"
#include "linalg/linalg.h"
#include "linalg/one_blas_thread.h"

namespace kvsplice {

namespace {

Error not_finite(const char* what) {
  return {ErrorKind::numeric, fmt::format("{}: the matrix holds a value that is not finite", what)};
}

template <class T>
bool all_finite(MatrixView<T> a) {
  for (size_t r = 0; r < a.rows; ++r) {
    for (const T& x : a.row(r)) {
      if (!std::isfinite(x)) return false;
    }
  }
  return true;
}

// The sign that makes the entry of largest magnitude positive; of equal ones the first counts.
template <class T>
T sign_of(std::span<const T> v) {
  T largest = 0;
  for (T x : v) {
    if (std::abs(x) > std::abs(largest)) largest = x;
  }
  return largest < 0 ? T(-1) : T(1);
}

void fix_signs(Svd& svd) {
  for (size_t i = 0; i < svd.values.size(); ++i) {
    if (sign_of<float>(svd.vt.row(i)) > 0) continue;
    for (float& x : svd.vt.row(i)) x = -x;
    for (size_t t = 0; t < svd.u.rows(); ++t) svd.u(t, i) = -svd.u(t, i);
  }
}

}  // namespace

// dsyevd in its three steps, because the last one falls into independent columns for threads.
Result<Eigen> symmetric_eigen(Matrix<double> a) {
  assert(a.rows() == a.cols());
  const size_t n = a.rows();
  if (!all_finite(a.view())) return not_finite("eigenvectors");
  Eigen eigen{std::vector<double>(n), Matrix<double>(n, n)};
  if (n == 0) return eigen;
  std::vector<double> ascending(n), off(n), reflectors(n);
  Matrix<double> vectors(n, n);  // by rows: LAPACK sees columns
  {
    OneBlasThread one;
    // The upper triangle of rows is the lower one of columns.
    LAPACKE_dsytrd(LAPACK_COL_MAJOR, 'L', n, a.data(), n, ascending.data(), off.data(),
                   reflectors.data());
    if (LAPACKE_dstedc(LAPACK_COL_MAJOR, 'I', n, ascending.data(), off.data(), vectors.data(), n) !=
        0) {
      return Error{ErrorKind::numeric, "eigenvectors: no convergence"};
    }
  }
  parallel_chunks(n, std::max<size_t>(64, n / 8), [&](size_t first, size_t count) {
    OneBlasThread one;
    Matrix<double> own = a;  // dormtr overwrites entries of it for a while
    LAPACKE_dormtr(LAPACK_COL_MAJOR, 'L', 'L', 'N', n, count, own.data(), n, reflectors.data(),
                   vectors.row(first).data(), n);
  });
  for (size_t i = 0; i < n; ++i) {
    const std::span<const double> from = std::as_const(vectors).row(n - 1 - i);
    const double sign = sign_of(from);
    eigen.values[i] = ascending[n - 1 - i];
    for (size_t j = 0; j < n; ++j) eigen.vectors(i, j) = sign * from[j];
  }
  return eigen;
}

Result<Svd> thin_svd(MatrixView<const float> a) {
  if (!all_finite(a)) return not_finite("singular value decomposition");
  const size_t n = a.rows, d = a.cols, r = std::min(n, d);
  Svd svd{Matrix<float>(n, r), std::vector<float>(r), Matrix<float>(r, d)};
  if (r == 0) return svd;
  OneBlasThread one;
  Matrix<float> work = copy(a);
  // Read by columns, `work` is the transpose, so U and V^T change places and need no transposing.
  if (LAPACKE_sgesdd(LAPACK_COL_MAJOR, 'S', d, n, work.data(), d, svd.values.data(), svd.vt.data(),
                     d, svd.u.data(), r) != 0) {
    return Error{ErrorKind::numeric, "singular value decomposition: no convergence"};
  }
  fix_signs(svd);
  return svd;
}

namespace {

// Sets s[i] to the length of row i and makes it 1; rows of zeros stay.
void normalise_rows(Matrix<float>& m, std::vector<float>& s) {
  for (size_t i = 0; i < m.rows(); ++i) {
    double sum = 0;
    for (float x : m.row(i)) sum += double(x) * x;
    s[i] = static_cast<float>(std::sqrt(sum));
    if (s[i] == 0) continue;
    for (float& x : m.row(i)) x /= s[i];
  }
}

Matrix<float> transposed(MatrixView<const float> a) {
  Matrix<float> t(a.cols, a.rows);
  for (size_t r = 0; r < a.rows; ++r) {
    for (size_t c = 0; c < a.cols; ++c) t(c, r) = a(r, c);
  }
  return t;
}

}  // namespace

Result<Svd> truncated_svd(MatrixView<const float> a, size_t rank) {
  assert(rank <= std::min(a.rows, a.cols));
  const bool tall = a.rows >= a.cols;
  // Eigenvectors of the smaller Gram matrix are one side; multiplying a with them gives the other.
  KVS_ASSIGN(const Eigen eigen, symmetric_eigen(scatter(tall ? a : transposed(a).view(), {})));
  Matrix<float> known(rank, std::min(a.rows, a.cols)), other(rank, std::max(a.rows, a.cols));
  std::copy_n(eigen.vectors.data(), known.size(), known.data());
  gemm(Trans::no, tall ? Trans::yes : Trans::no, 1.f, known, a, 0.f, other);
  std::vector<float> values(rank);
  normalise_rows(other, values);
  Svd svd{transposed(tall ? other : known), std::move(values), tall ? known : other};
  fix_signs(svd);
  return svd;
}

Result<std::vector<double>> singular_values(MatrixView<const float> a) {
  if (!all_finite(a)) return not_finite("singular values");
  std::vector<double> values(std::min(a.rows, a.cols));
  if (values.empty()) return values;
  OneBlasThread one;
  Matrix<double> work(a.rows, a.cols);
  for (size_t r = 0; r < a.rows; ++r) std::copy_n(&a(r, 0), a.cols, &work(r, 0));
  double unused;
  if (LAPACKE_dgesdd(LAPACK_COL_MAJOR, 'N', a.cols, a.rows, work.data(), a.cols, values.data(),
                     &unused, 1, &unused, 1) != 0) {
    return Error{ErrorKind::numeric, "singular values: no convergence"};
  }
  return values;
}

Result<Matrix<double>> cholesky(Matrix<double> a) {
  assert(a.rows() == a.cols());
  const size_t n = a.rows();
  if (!all_finite(a.view())) return not_finite("least squares");
  if (n == 0) return a;
  {
    OneBlasThread one;
    // The upper factor by columns is the lower one by rows.
    const lapack_int info = LAPACKE_dpotrf(LAPACK_COL_MAJOR, 'U', n, a.data(), n);
    if (info != 0) {
      return Error{ErrorKind::numeric,
                   fmt::format("the matrix of {0} x {0} is not positive definite (at row {1}); "
                               "more rows or a larger ridge would help",
                               n, info - 1)};
    }
  }
  for (size_t r = 0; r < n; ++r) std::fill(a.row(r).begin() + r + 1, a.row(r).end(), 0.0);
  return a;
}

Matrix<double> solve_with_factor(const Matrix<double>& l, Matrix<double> b) {
  assert(l.rows() == l.cols() && l.rows() == b.rows());
  constexpr size_t kColumns = 256;
  const size_t n = l.rows();
  if (n == 0) return b;
  parallel_chunks(b.cols(), kColumns, [&](size_t first, size_t m) {
    OneBlasThread one;
    for (CBLAS_TRANSPOSE side : {CblasNoTrans, CblasTrans}) {
      cblas_dtrsm(CblasRowMajor, CblasLeft, CblasLower, side, CblasNonUnit, n, m, 1, l.data(), n,
                  b.data() + first, b.cols());
    }
  });
  return b;
}

Result<Matrix<double>> solve_spd(Matrix<double> a, Matrix<double> b) {
  if (!all_finite(b.view())) return not_finite("least squares");
  KVS_ASSIGN(const Matrix<double> factor, cholesky(std::move(a)));
  return solve_with_factor(factor, std::move(b));
}

}  // namespace kvsplice
