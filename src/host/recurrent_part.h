// What hybrids have behind the caches of a state: the rows of their recurrent layers. Also alone,
// as llama.cpp saves it with LLAMA_STATE_SEQ_FLAGS_PARTIAL_ONLY. Input is hostile.
#pragma once

#include <optional>

#include "host/state_writer.h"
#include "session/recurrent.h"

namespace kvsplice::host {

// The part at the place of `in`; none if it has no cell. Layers of the model, or none if they are
// not known: then rows go on to the end, half of them r.
Result<std::optional<session::RecurrentState>> read_recurrent(
    ByteReader& in, std::span<const RecurrentLayer> layers);

size_t most_recurrent_bytes(const session::RecurrentState& state);
// In session files a cell names its sequence.
void write_recurrent(const session::RecurrentState& state, bool names_sequence, StateWriter& out);

}  // namespace kvsplice::host
