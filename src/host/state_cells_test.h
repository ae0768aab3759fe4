// What tests of states share.
#pragma once

#include "host/state_rows.h"
#include "session/generated_cells.h"

namespace kvsplice::host {

inline const StateVersion kOldest = kStateVersions[0], kNewest = kStateVersions[1];

// The cells of a state, copied.
inline session::Cells cells_in(const StateBlob& blob, const ModelShape& shape,
                               std::span<const int32_t> tokens, std::span<const Turns> turns = {}) {
  const StateCells made = to_cells(blob, shape, tokens, turns).value();
  return convert<uint16_t>(made.cells, shape, Space::cached);
}

}  // namespace kvsplice::host
