// Reconstructions of the same tokens, read as if their columns stood side by side.
#pragma once

#include <vector>

#include "linalg/linalg.h"

namespace kvsplice::codec {

using SideBySide = std::vector<MatrixView<const float>>;  // as many rows each

inline size_t width_of(const SideBySide& parts) {
  size_t width = 0;
  for (const auto& part : parts) width += part.cols;
  return width;
}

// out = [parts] weights^T; weights: [out.cols x width].
inline void multiply(const SideBySide& parts, const Matrix<float>& weights, MatrixView<float> out) {
  size_t at = 0;
  for (const auto& part : parts) {
    gemm(Trans::no, Trans::yes, 1.f, part, weights.view().col_range(at, part.cols),
         at == 0 ? 0.f : 1.f, out);
    at += part.cols;
  }
}

}  // namespace kvsplice::codec
