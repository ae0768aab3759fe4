#pragma once

#include "codec/transform/klt/coarse_basis.h"

namespace kvsplice::codec {

// Integers -31 ... 31 in the proportions of each row.
Matrix<float> basis_codes(const Matrix<float>& basis);

}  // namespace kvsplice::codec
