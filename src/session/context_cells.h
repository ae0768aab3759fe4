// Cells out of a context of llama.cpp, and into one.
#pragma once

#include "host/model.h"
#include "session/cells.h"

namespace kvsplice::session {

// The cells of a context whose tokens these are; tokens behind its last cell are passed over.
Result<Cells> cells_of(const host::Context& context, const ModelShape& shape,
                       std::span<const int32_t> tokens);

// Replaces whatever is in the context.
Result<> restore_cells(const Cells& cells, const ModelShape& shape, host::Context& context);

// How far the first cells are from what the model makes of their tokens: the difference's share of
// the first layer's rms. Large if they were made by other weights or with another rotary embedding.
// 0 if the layer's first cells are absent.
Result<double> distance_from_model(const Cells& cells, const host::Model& model);

}  // namespace kvsplice::session
