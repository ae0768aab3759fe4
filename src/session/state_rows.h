// A state of llama.cpp, of any handled type -> f16 cells. state_target.h is the reverse.
#pragma once

#include "session/cells.h"
#include "session/state_blob.h"

namespace kvsplice::session {

// The cells of a state whose positions are 0, 1, ... without gaps. The tokens behind them are left
// in `pending`. Of layers with a sliding window the newest cells are taken, as many as the window
// holds: no later token sees the others.
struct StateCells {
  Cells cells;
  std::vector<int32_t> pending;
  size_t rounded = 0;  // so many f32 values are not f16; they are rounded
  std::optional<CellPlace> first_rounded;
};

// `tokens`: the state's, or for sequence data, which has none, the caller's. `turns`: how quantised
// heads were turned if the state does not say it, like shape.layers; none: as llama.cpp does if
// nothing is set.
Result<StateCells> to_cells(const StateBlob& blob, const ModelShape& shape,
                            std::span<const int32_t> tokens,
                            std::span<const host::Turns> turns = {});

}  // namespace kvsplice::session
