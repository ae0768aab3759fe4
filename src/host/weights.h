// The weights of a model as floats, read from its files: what llama.cpp holds in memory may be
// rearranged for its own kernels.
#pragma once

#include <algorithm>
#include <string>
#include <vector>

#include "core/matrix.h"
#include "host/gguf_source.h"

namespace kvsplice::host {

// One tensor of a model, [all but the innermost dimension x innermost].
class Weights {
 public:
  // Error unsupported if no file holds it, or in a type that does not turn into floats.
  static Result<Weights> find(const std::vector<GgufSource>& files, const std::string& name);

  size_t rows() const { return tensor_->count() / std::max<size_t>(cols(), 1); }
  size_t cols() const { return tensor_->ne[0]; }
  // Rows first ... of it; `out` must be contiguous.
  Result<> read(size_t first, MatrixView<float> out) const;

 private:
  Weights(const GgufSource& file, const SourceTensor& tensor) : file_(&file), tensor_(&tensor) {}
  const GgufSource* file_;
  const SourceTensor* tensor_;
};

}  // namespace kvsplice::host
