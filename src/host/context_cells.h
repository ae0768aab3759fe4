// Cells out of a context of llama.cpp, and into one.
#pragma once

#include "host/model.h"
#include "host/state_rows.h"
#include "session/session.h"

namespace kvsplice::host {

// The cells of a context whose tokens these are; tokens behind its last cell are passed over.
Result<StateCells> cells_of(const Context& context, const ModelShape& shape,
                            std::span<const int32_t> tokens);

// Replaces whatever is in the context. Hybrids need their recurrent state behind these cells.
Result<> restore_cells(const KvView& cells, const ModelShape& shape, Context& context,
                       const session::RecurrentState* recurrent = nullptr);
// The same, by all cells of a session, which are decoded straight to where llama.cpp reads them.
// Their tokens; error numeric if a cell is infinite or not a number.
Result<std::vector<int32_t>> restore_session(const session::Session& session,
                                             const ModelShape& shape, Context& context,
                                             const Progress& progress);

// How far the first cells are from what the model makes of their tokens: the difference's share of
// the first layer's rms. Large if they were made by other weights or with another rotary embedding.
// 0 if the layer's first cells are absent.
Result<double> distance_from_model(const KvView& cells, const Model& model);

}  // namespace kvsplice::host
