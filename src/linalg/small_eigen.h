// Eigenvectors of symmetric matrices as wide as a head, in plain loops: what encoders may need that
// LAPACK is too much for. Larger ones are solve's.
#pragma once

#include <vector>

#include "core/matrix.h"
#include "kvsplice/result.h"

namespace kvsplice {

struct EigenPairs {
  std::vector<double> values;  // descending
  Matrix<double> vectors;      // row i belongs to values[i]; unit length; the entry of largest
                               // magnitude is positive
};
// a: [n x n], lower triangle read. Error numeric if it holds a value that is not finite.
Result<EigenPairs> small_eigen(Matrix<double> a);

}  // namespace kvsplice
