// Whether cells survive the way through a slot file and through us on the server at hand: tried
// with a few tokens before anything is restored for a client.
#pragma once

#include <string>

#include "host/state_target.h"
#include "serve/upstream.h"
#include "session/records.h"

namespace kvsplice::serve {

struct SlotTrial {
  host::StateTarget target;  // what the server's cache is like
  std::string settings;      // of it that change cells, in words: for CellsOf
  KvBlock<uint16_t> cells;   // of the first tokens of the text that was tried
};

// What of a model makes restoring impossible on all servers; empty if nothing does.
std::string why_never(const ModelShape& shape);

// Uses slots 0 and, if there is one, 1; both are empty afterwards. folder: shared with the server.
// Errors: unsupported, saying what the server or the model does that makes restoring impossible.
Result<SlotTrial> try_slots(const Upstream& upstream, int slots, const std::string& folder,
                            const ModelShape& shape);

}  // namespace kvsplice::serve
