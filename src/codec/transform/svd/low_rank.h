// The best approximation of a block by few singular values.
#pragma once

#include <vector>

#include "core/matrix.h"
#include "kvsplice/result.h"

namespace kvsplice::codec {

struct LowRank {
  Matrix<float> u;            // [n x rank]
  std::vector<float> values;  // descending
  Matrix<float> vt;           // [rank x d]; the entry of largest magnitude of a row is positive
};

// a: [n x d], rank <= min(n, d). By way of the smaller Gram matrix: vectors whose singular value is
// below 1e-7 of the largest need not be orthogonal, which does no harm to what is rebuilt.
Result<LowRank> low_rank(MatrixView<const float> a, size_t rank);

}  // namespace kvsplice::codec
