// A session as a state that llama.cpp loads.
#pragma once

#include "host/state_target.h"
#include "session/session.h"

namespace kvsplice::host {

struct SessionState {
  Bytes bytes;
  std::vector<int32_t> tokens;  // the first n of the session
};

// Its first n tokens, and tokens pending behind them, as far as they can be in it. Rows are decoded
// straight to their place in the state if it holds f16. finite: error numeric if a cell is infinite
// or not a number.
Result<SessionState> to_state(const session::Session& session, size_t n,
                              std::span<const int32_t> pending, const ModelShape& shape,
                              const StateTarget& target, bool finite, const Progress& progress);

}  // namespace kvsplice::host
