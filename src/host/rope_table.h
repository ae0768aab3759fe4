// The rotary embedding of a layer, read off the graph's ROPE node.
#pragma once

#include <ggml.h>

#include "core/shape.h"

namespace kvsplice::host {

// As ggml computes it: frequency factors and YaRN folded into one table. `node` has op ROPE.
Result<Rope> rope_of(const ggml_tensor* node);

// What a gradient passes through on its way back: the transpose of Rope::apply() at positions
// `first` ..., in place. gradient: [tokens x heads * head_dim].
void rotate_back(Rope rope, int head_dim, MatrixView<float> gradient, size_t first = 0);

}  // namespace kvsplice::host
