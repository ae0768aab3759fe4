// Rows of a cache tensor as floats. Row i of the cache is the cell of position i.
#pragma once

#include <ggml.h>

#include "core/matrix.h"
#include "kvsplice/result.h"

namespace kvsplice::host {

// One layer's keys or values: f16 or f32, [cells x width]. Without flash attention values lie the
// other way round, [width x cells].
struct CacheTensor {
  ggml_tensor* tensor = nullptr;
  bool transposed = false;

  void get(size_t first, MatrixView<float> out) const;
  // An error if a value does not fit into f16; then nothing is written.
  Result<> set(size_t first, MatrixView<const float> rows) const;
};

}  // namespace kvsplice::host
