// A state of llama.cpp, of any handled type -> f16 cells. state_target.h is the reverse.
#pragma once

#include "host/state_blob.h"
#include "session/cells.h"

namespace kvsplice::host {

// The cells of a state whose positions are 0, 1, ... without gaps. The tokens behind them are left
// in `pending`. Of layers with a sliding window the newest cells are taken, as many as the window
// holds: no later token sees the others.
struct StateCells {
  KvView cells;  // onto the bytes of the state where its rows are as cells are
  std::vector<int32_t> pending;
  std::optional<session::RecurrentState> recurrent;  // of hybrids, behind the last cell
  size_t rounded = 0;  // so many f32 values are not f16; they are rounded
  std::optional<session::CellPlace> first_rounded;

  // What the view is of beside bytes that others hold. Its parts stay where they are if the whole
  // is moved.
  std::vector<int32_t> tokens, positions;
  std::vector<Matrix<uint16_t>> copied;
  Bytes state;

  StateCells() = default;
  StateCells(StateCells&&) = default;
  StateCells& operator=(StateCells&&) = default;
};

// `tokens`: the state's, or for sequence data, which has none, the caller's. `turns`: how quantised
// heads were turned if the state does not say it, like shape.layers; none: as llama.cpp does if
// nothing is set. What the blob is of must outlive the result.
Result<StateCells> to_cells(const StateBlob& blob, const ModelShape& shape,
                            std::span<const int32_t> tokens, std::span<const Turns> turns = {});

}  // namespace kvsplice::host
