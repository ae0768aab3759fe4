// Orthonormal rows kept as small integers: a sixth of the bytes of floats once they are packed, at
// the price of a basis turned by a degree or two, which moves a thousandth of the variance to other
// columns. It is as orthonormal as one of floats.
#pragma once

#include "core/matrix.h"
#include "kvsplice/result.h"

namespace kvsplice::codec {

constexpr float kLargestBasisCode = 31;

// The orthonormal rows nearest to the normalised rows of codes. Error format unless those are
// nearly orthonormal.
Result<Matrix<float>> basis_of_codes(const Matrix<float>& codes);

}  // namespace kvsplice::codec
