// Householder QR, with LAPACK's signs (as numpy.linalg.qr).
#pragma once

#include "core/matrix.h"
#include "kvsplice/result.h"

namespace kvsplice {

// The orthonormal factor of a reduced QR decomposition, [n x d] for a [n x d], n >= d.
Result<Matrix<double>> orthonormal_columns(Matrix<double> a);

}  // namespace kvsplice
