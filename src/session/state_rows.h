// Cells of a llama.cpp cache of any handled type <-> f16 cells. llama.cpp turns heads by a Hadamard
// matrix before it quantises them; that is undone and done here, too.
#pragma once

#include "session/cells.h"
#include "session/state_blob.h"

namespace kvsplice::session {

// The cells of a state of one sequence whose positions are 0, 1, ... without gaps. The tokens
// behind them are left in `pending`. Tokens are needed: sequence data has none, so the caller names
// them. Of layers with a sliding window the newest cells are taken, as many as the window holds: no
// later token sees the others.
struct StateCells {
  Cells cells;
  std::vector<int32_t> pending;
};
Result<StateCells> to_cells(const StateBlob& blob, const ModelShape& shape,
                            std::span<const int32_t> tokens);

// A state llama.cpp loads into a cache of this type. Error if cells that the next tokens see are
// absent.
Result<Bytes> to_state(const Cells& cells, std::span<const int32_t> pending,
                       const ModelShape& shape, StateForm form, CellType type);

}  // namespace kvsplice::session
