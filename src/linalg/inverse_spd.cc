#include "linalg/linalg.h"
#include "linalg/small.h"

namespace kvsplice {

Result<Matrix<double>> inverse_spd(Matrix<double> a) {
  Matrix<double> identity(a.rows(), a.rows());
  for (size_t i = 0; i < a.rows(); ++i) identity(i, i) = 1;
  return solve_spd_small(std::move(a), std::move(identity));
}

}  // namespace kvsplice
