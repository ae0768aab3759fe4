#include "codec/transform/klt/coarse_basis_fit.h"

#include <algorithm>
#include <cmath>

namespace kvsplice::codec {

Matrix<float> basis_codes(const Matrix<float>& basis) {
  Matrix<float> codes(basis.rows(), basis.cols());
  for (size_t r = 0; r < basis.rows(); ++r) {
    float peak = 0;
    for (float v : basis.row(r)) peak = std::max(peak, std::abs(v));
    for (size_t c = 0; c < basis.cols(); ++c) {
      // Adding zero leaves no negative zeros.
      codes(r, c) = std::round(basis(r, c) * (kLargestBasisCode / peak)) + 0.f;
    }
  }
  return codes;
}

}  // namespace kvsplice::codec
