// f16 cells -> a state that llama.cpp loads into a cache of its own kind.
#pragma once

#include "session/cells.h"
#include "session/state_blob.h"

namespace kvsplice::session {

// What is to load a state. llama.cpp demands that all of it is as in its own cache.
struct StateTarget {
  StateForm form = StateForm::sequence_file;
  CellType key_type = CellType::f16, value_type = CellType::f16;
  bool values_transposed = false;  // as without flash attention
  host::StateVersion version = host::linked_state_version();
  uint32_t streams = 1;                 // or one for each sequence of a context that parts them
  std::vector<host::Turns> turns = {};  // of quantised heads; none: as if nothing is set

  CellType type(Kind kind) const { return kind == Kind::key ? key_type : value_type; }
};

// What has saved a state, and can load one like it. Error if it holds no cells.
Result<StateTarget> target_like(const StateBlob& blob, const ModelShape& shape);

// How many tokens a state lists and how many cells it has. A session file lists one token more than
// it has cells, since llama-completion evaluates the last one anew; llama-server takes a sequence
// file's list for what the cache holds.
struct StateExtent {
  size_t tokens = 0, cells = 0;
};
StateExtent extent_of_state(StateForm form, size_t cells, size_t pending);

// Of all cells and pending tokens that can be in it. Error if cells that the next token sees are
// absent.
Result<Bytes> to_state(const Cells& cells, std::span<const int32_t> pending,
                       const ModelShape& shape, const StateTarget& target);

}  // namespace kvsplice::session
