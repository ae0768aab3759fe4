// The rotary embedding of a layer, read off the graph's ROPE node.
#pragma once

#include <ggml.h>

#include "core/shape.h"

namespace kvsplice::host {

// As ggml computes it: frequency factors and YaRN folded into one table. `node` has op ROPE.
Result<Rope> rope_of(const ggml_tensor* node);

}  // namespace kvsplice::host
