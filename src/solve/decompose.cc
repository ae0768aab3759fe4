#include <cblas.h>
#include <fmt/format.h>
#include <lapacke.h>

#include <algorithm>
#include <cmath>

#include "core/threads.h"
#include "solve/one_blas_thread.h"
#include "solve/solve.h"

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

namespace {

// a = Q T Q^T with T tridiagonal; Q lies below the diagonal of `reflectors` and in `factors`.
struct Tridiagonal {
  Matrix<double> reflectors;
  std::vector<double> diagonal, off, factors;

  explicit Tridiagonal(Matrix<double> a)
      : reflectors(std::move(a)),
        diagonal(reflectors.rows()),
        off(reflectors.rows()),
        factors(reflectors.rows()) {
    OneBlasThread one;
    // The upper triangle of rows is the lower one of columns.
    lapack_done(LAPACKE_dsytrd(LAPACK_COL_MAJOR, 'L', size(), reflectors.data(), size(),
                               diagonal.data(), off.data(), factors.data()));
  }

  lapack_int size() const { return lapack_int(diagonal.size()); }

  // From eigenvectors of T, by rows, to those of a. They are independent, so threads take some
  // each.
  void turn_back(Matrix<double>& vectors) const {
    const size_t n = diagonal.size();
    parallel_chunks(vectors.rows(), std::max<size_t>(64, n / 8), [&](size_t first, size_t count) {
      OneBlasThread one;
      Matrix<double> own = reflectors;  // dormtr overwrites entries of it for a while
      lapack_done(LAPACKE_dormtr(LAPACK_COL_MAJOR, 'L', 'L', 'N', n, count, own.data(), n,
                                 factors.data(), vectors.row(first).data(), n));
    });
  }
};

// Of vectors by ascending value.
Eigen descending(std::span<const double> values, const Matrix<double>& vectors) {
  const size_t count = values.size();
  Eigen eigen{std::vector<double>(count), Matrix<double>(count, vectors.cols())};
  for (size_t i = 0; i < count; ++i) {
    const std::span<const double> from = vectors.row(count - 1 - i);
    const double sign = sign_of(from);
    eigen.values[i] = values[count - 1 - i];
    for (size_t j = 0; j < from.size(); ++j) eigen.vectors(i, j) = sign * from[j];
  }
  return eigen;
}

// Eigenvectors of T by inverse iteration; false if that fails, as it does on a matrix of zeros.
bool vectors_of(const Tridiagonal& t, std::span<const double> values, Matrix<double>& vectors) {
  const lapack_int count = lapack_int(values.size());
  // LAPACKE looks for NaN in as many values as T has rows, whatever `count` is.
  std::vector<double> padded(t.diagonal.size());
  std::copy(values.begin(), values.end(), padded.begin());
  std::vector<lapack_int> block(count, 1), block_end(t.size(), t.size()), failed(count);
  OneBlasThread one;
  const bool converged =
      lapack_done(LAPACKE_dstein(LAPACK_COL_MAJOR, t.size(), t.diagonal.data(), t.off.data(), count,
                                 padded.data(), block.data(), block_end.data(), vectors.data(),
                                 t.size(), failed.data())) == 0;
  return converged && all_finite(vectors.view());
}

Result<Eigen> all_eigen(const Tridiagonal& t) {
  const size_t n = t.diagonal.size();
  std::vector<double> values = t.diagonal, off = t.off;
  Matrix<double> vectors(n, n);  // by rows: LAPACK sees columns
  {
    OneBlasThread one;
    if (lapack_done(LAPACKE_dstedc(LAPACK_COL_MAJOR, 'I', n, values.data(), off.data(),
                                   vectors.data(), n)) != 0) {
      return Error{ErrorKind::numeric, "eigenvectors: no convergence"};
    }
  }
  t.turn_back(vectors);
  return descending(values, vectors);
}

Result<Eigen> first_of(Result<Eigen> all, size_t count) {
  if (!all.ok()) return all.error();
  Matrix<double> vectors(count, all->vectors.cols());
  std::copy_n(all->vectors.data(), vectors.size(), vectors.data());
  all->values.resize(count);
  return Eigen{std::move(all->values), std::move(vectors)};
}

// Values first, then their vectors one by one.
Result<Eigen> first_eigen(const Tridiagonal& t, size_t count) {
  std::vector<double> values = t.diagonal, off = t.off;
  if (lapack_done(LAPACKE_dsterf(t.size(), values.data(), off.data())) != 0) {
    return Error{ErrorKind::numeric, "eigenvalues: no convergence"};
  }
  const auto wanted = std::span<const double>(values).last(count);
  Matrix<double> vectors(count, values.size());
  if (!vectors_of(t, wanted, vectors)) return first_of(all_eigen(t), count);
  t.turn_back(vectors);
  return descending(wanted, vectors);
}

}  // namespace

// dsyevd in its three steps, because the last one falls into independent columns for threads.
Result<Eigen> symmetric_eigen(Matrix<double> a) {
  assert(a.rows() == a.cols());
  if (!all_finite(a.view())) return not_finite("eigenvectors");
  if (a.empty()) return Eigen{};
  return all_eigen(Tridiagonal(std::move(a)));
}

Result<Eigen> leading_eigen(Matrix<double> a, size_t count) {
  assert(a.rows() == a.cols() && count <= a.rows());
  if (!all_finite(a.view())) return not_finite("eigenvectors");
  if (count == 0) return Eigen{};
  const bool few = 4 * count <= a.rows();  // else the whole is as fast
  const Tridiagonal t(std::move(a));
  return few ? first_eigen(t, count) : first_of(all_eigen(t), count);
}

Result<Svd> thin_svd(MatrixView<const float> a) {
  if (!all_finite(a)) return not_finite("singular value decomposition");
  const size_t n = a.rows, d = a.cols, r = std::min(n, d);
  Svd svd{Matrix<float>(n, r), std::vector<float>(r), Matrix<float>(r, d)};
  if (r == 0) return svd;
  OneBlasThread one;
  Matrix<float> work = copy(a);
  // Read by columns, `work` is the transpose, so U and V^T change places and need no transposing.
  if (lapack_done(LAPACKE_sgesdd(LAPACK_COL_MAJOR, 'S', d, n, work.data(), d, svd.values.data(),
                                 svd.vt.data(), d, svd.u.data(), r)) != 0) {
    return Error{ErrorKind::numeric, "singular value decomposition: no convergence"};
  }
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
  if (lapack_done(LAPACKE_dgesdd(LAPACK_COL_MAJOR, 'N', a.cols, a.rows, work.data(), a.cols,
                                 values.data(), &unused, 1, &unused, 1)) != 0) {
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
    const lapack_int info = lapack_done(LAPACKE_dpotrf(LAPACK_COL_MAJOR, 'U', n, a.data(), n));
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
