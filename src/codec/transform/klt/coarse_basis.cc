#include "codec/transform/klt/coarse_basis.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "linalg/linalg.h"

namespace kvsplice::codec {

namespace {

constexpr float kFarthest = 0.25;  // from the identity, of a Gram matrix that can be mended
constexpr int kSteps = 3;          // errors go from .1 to 1e-2, 1e-4 and below a float's

}  // namespace

Result<Matrix<float>> basis_of_codes(const Matrix<float>& codes) {
  Matrix<float> basis = codes;
  for (size_t r = 0; r < basis.rows(); ++r) {
    double squares = 0;
    for (float v : basis.row(r)) {
      if (v != std::round(v) || std::abs(v) > kLargestBasisCode) {
        return Error{ErrorKind::format,
                     fmt::format("basis code {}; legal: integers -31 ... 31", v)};
      }
      squares += double(v) * v;
    }
    if (squares == 0) return Error{ErrorKind::format, fmt::format("row {} of a basis is zero", r)};
    for (float& v : basis.row(r)) v = static_cast<float>(v / std::sqrt(squares));
  }
  Matrix<float> gram(basis.rows(), basis.rows());
  for (int step = 0; step < kSteps; ++step) {  // Newton-Schulz towards the polar factor
    gemm(Trans::no, Trans::yes, 1.f, basis, basis, 0.f, gram);
    double squares = 0;
    for (size_t i = 0; i < gram.rows(); ++i) {
      gram(i, i) -= 1;
      for (float v : gram.row(i)) squares += double(v) * v;
    }
    if (!(std::sqrt(squares) < kFarthest * std::sqrt(double(gram.rows())))) {
      return Error{ErrorKind::format, "the rows of the basis are not orthogonal"};
    }
    const Matrix<float> before = basis;
    gemm(Trans::no, Trans::no, -0.5f, gram, before, 1.f, basis);
  }
  return basis;
}

}  // namespace kvsplice::codec
