// The weights of a model as floats, read from its files: what llama.cpp holds in memory may be
// rearranged for its own kernels.
#pragma once

#include <string>

#include "host/gguf_source.h"
#include "kvsplice/matrix.h"

namespace kvsplice::host {

// Tensor `name`, [all but the innermost dimension x innermost].
Result<Matrix<float>> read_weights(const std::vector<GgufSource>& files, const std::string& name);

}  // namespace kvsplice::host
