#include "solve/qr.h"

#include <fmt/format.h>
#include <lapacke.h>

#include "solve/one_blas_thread.h"

namespace kvsplice {

Result<Matrix<double>> orthonormal_columns(Matrix<double> a) {
  const auto n = static_cast<lapack_int>(a.rows()), d = static_cast<lapack_int>(a.cols());
  if (n < d) {
    return Error{
        ErrorKind::usage,
        fmt::format("QR of a {} x {} matrix: needs at least as many rows as columns", n, d)};
  }
  if (d == 0) return a;
  OneBlasThread one;
  std::vector<double> reflectors(a.cols());
  if (lapack_done(LAPACKE_dgeqrf(LAPACK_ROW_MAJOR, n, d, a.data(), d, reflectors.data())) != 0 ||
      lapack_done(LAPACKE_dorgqr(LAPACK_ROW_MAJOR, n, d, d, a.data(), d, reflectors.data())) != 0) {
    return Error{ErrorKind::numeric, "QR: the matrix holds a value that is not a number"};
  }
  return a;
}

}  // namespace kvsplice
