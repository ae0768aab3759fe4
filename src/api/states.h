// Recurrent states of hybrid models, as the C interface describes them.
#pragma once

#include "api/lent.h"
#include "session/session.h"

namespace kvsplice::api {

// What a caller lends, copied.
struct LentStates {
  std::vector<session::RecurrentState> states;
  session::StateEncoding encoding = session::StateEncoding::exact;
  size_t instead_of = 0;

  session::StatesToStore to_store() const { return {states, encoding, instead_of}; }
};

// Error usage if pointers are missing or numbers mean nothing, or if there are none and `hybrid`.
Result<LentStates> states_of(const kvs_block& block, bool hybrid);

// The recurrent layers of a model that has such states; none if there are none. Error usage if the
// first has not two rows a layer.
Result<std::vector<RecurrentLayer>> layers_of(const LentStates& lent);

// In memory of the caller's, which `state` points into.
Result<> hand_out(const session::RecurrentState& from, const Options& options, kvs_state& state,
                  kvs_buffer& memory);

}  // namespace kvsplice::api
