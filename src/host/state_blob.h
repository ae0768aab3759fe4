// The states llama.cpp saves, as bytes <-> a plain description. Three forms share one body:
//   session file   llama_state_save_file:      'ggsn', version, tokens, architecture, caches
//   sequence file  llama_state_seq_save_file:  'ggsq', version, tokens, caches
//   sequence data  llama_state_seq_get_data:   magic, sequence id, caches
// Models with sliding windows have two caches, full layers first. Behind the caches of hybrids
// stands the state of their recurrent layers. A cache has one stream of cells,
// or one for each sequence its context can hold. Input is hostile.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "core/bytes.h"
#include "core/shape.h"
#include "host/cell_rows.h"
#include "host/state_format.h"
#include "session/recurrent.h"

namespace kvsplice::host {

enum class StateForm { session_file, sequence_file, sequence_data };
const char* name(StateForm form);

// Keys or values of one layer, in place. Transposed values are [width x cells] elements.
struct StateRows {
  int32_t type = 0;
  size_t row_bytes = 0;
  ByteSpan data;  // cells * row_bytes
};

struct StateCache {
  std::vector<int32_t> positions;  // cell by cell, in any order
  std::vector<int32_t> tokens;     // likewise, where cells say places; else none
  bool values_transposed = false;
  Turns turns;                          // where the version says them
  std::vector<StateRows> keys, values;  // layers that belong to this cache, in order

  size_t cells() const { return positions.size(); }
};

struct StateBlob {
  StateForm form = StateForm::session_file;
  StateVersion version;
  std::string architecture;     // session files only
  std::vector<int32_t> tokens;  // files only; may be longer than the cache (the last is pending)
  uint32_t streams = 1;         // of each cache; all but one are empty
  std::vector<StateCache> caches;
  std::optional<session::RecurrentState> recurrent;  // of hybrids
  size_t bytes_behind = 0;  // what follows the caches: others' data, which llama.cpp ignores, too
};

// What the bytes do not say.
struct StateHints {
  size_t caches = 0;  // of the model; 0: not known, what looks like a second one is one
  StateVersion version = linked_state_version();  // of sequence data
  std::vector<size_t> empty = {};  // places in the first cache of layers without attention
  bool places = false;             // cells say where in an image they are; of text it is nowhere
  bool values = true;              // or attention takes them from the keys
  std::vector<RecurrentLayer> recurrent = {};
};
std::vector<size_t> empty_places(const ModelShape& shape);
StateHints hints_of(const ModelShape& shape);

// The spans of the result point into `bytes`.
Result<StateBlob> parse_state(ByteSpan bytes, const StateHints& hints = {});

// Where the rows of one cache's layers are among the bytes of a state.
struct RowsAt {
  std::vector<size_t> keys, values;
};
// At least as many bytes as the state has, and hardly more.
size_t most_state_bytes(const StateBlob& blob);
// Into as many zeros; returns the bytes it took. Rows without data stay zeros, for the caller to
// fill in: they are where `places` says, cache by cache.
size_t write_state(const StateBlob& blob, std::span<uint8_t> zeros, std::vector<RowsAt>* places);
Bytes write_state(const StateBlob& blob);

// What LLAMA_STATE_SEQ_FLAGS_PARTIAL_ONLY saves of a hybrid; and such bytes, to be loaded beside
// the cells that are there.
Result<session::RecurrentState> recurrent_of_part(ByteSpan bytes, const ModelShape& shape);
Bytes part_of_recurrent(const session::RecurrentState& state, const ModelShape& shape);

// The layers of `shape` that cache `index` holds (two caches: without a window, with one), or an
// error saying how the state differs from what the model would save.
Result<std::vector<int>> layers_of_cache(const StateBlob& blob, size_t index,
                                         const ModelShape& shape);

}  // namespace kvsplice::host
