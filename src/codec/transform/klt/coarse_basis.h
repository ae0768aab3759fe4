// Orthonormal rows kept as integers of eight bits: a quarter of the bytes of floats, at the price
// of a basis turned by a fraction of a degree. It is as orthonormal as one of floats.
#pragma once

#include "kvsplice/matrix.h"
#include "kvsplice/result.h"

namespace kvsplice::codec {

// Integers -127 ... 127 in the proportions of each row.
Matrix<float> basis_codes(const Matrix<float>& basis);

// The orthonormal rows nearest to the normalised rows of codes. Error format unless those are
// nearly orthonormal.
Result<Matrix<float>> basis_of_codes(const Matrix<float>& codes);

}  // namespace kvsplice::codec
