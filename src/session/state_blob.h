// The states llama.cpp saves, as bytes <-> a plain description. Three forms share one body:
//   session file   llama_state_save_file:      'ggsn', version, tokens, architecture, caches
//   sequence file  llama_state_seq_save_file:  'ggsq', version, tokens, caches
//   sequence data  llama_state_seq_get_data:   magic, sequence id, caches
// Models with sliding windows have two caches, full layers first. Input is hostile.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "core/bytes.h"
#include "core/shape.h"

namespace kvsplice::session {

enum class StateForm { session_file, sequence_file, sequence_data };
const char* name(StateForm form);

// ggml's numbers of the cell types that are handled.
enum class CellType : int32_t { f32 = 0, f16 = 1, q8_0 = 8 };
const char* name(CellType type);
// Bytes of `width` values; error if the type is another, or does not divide the width.
Result<size_t> row_bytes(int32_t type, size_t width);

// Keys or values of one layer, in place. Transposed values are [width x cells] elements.
struct StateRows {
  int32_t type = 0;
  size_t row_bytes = 0;
  ByteSpan data;  // cells * row_bytes
};

struct StateCache {
  std::vector<int32_t> positions;  // cell by cell, in any order
  bool values_transposed = false;
  std::vector<StateRows> keys, values;  // layers that belong to this cache, in order

  size_t cells() const { return positions.size(); }
};

struct StateBlob {
  StateForm form = StateForm::session_file;
  std::string architecture;     // session files only
  std::vector<int32_t> tokens;  // files only; may be longer than the cache (the last is pending)
  std::vector<StateCache> caches;
};

// The spans of the result point into `bytes`.
Result<StateBlob> parse_state(ByteSpan bytes);
Bytes write_state(const StateBlob& blob);

// The layers of `shape` that cache `index` holds (two caches: without a window, with one), or an
// error saying how the state differs from what the model would save.
Result<std::vector<int>> layers_of_cache(const StateBlob& blob, size_t index,
                                         const ModelShape& shape);

}  // namespace kvsplice::session
