// Recurrent states of hybrid models, as Python's tuples and as the C interface has them.
#pragma once

#include <nanobind/stl/tuple.h>
#include <nanobind/stl/vector.h>

#include <optional>
#include <tuple>
#include <vector>

#include "arrays.h"

namespace kvsplice::python {

// Position, layers of the model, and rows: layer, part, whether of halves, bytes.
using StateTuple = std::tuple<size_t, int, std::vector<std::tuple<int, int, bool, nb::bytes>>>;
using StateTuples = std::optional<std::vector<StateTuple>>;

// What a block is given. The tuples must outlive it.
class States {
 public:
  States(const StateTuples& states, kvs_state_encoding encoding, size_t instead_of)
      : given_(states.has_value()) {
    if (!given_) return;
    rows_.reserve(states->size());
    for (const auto& [position, model_layers, rows] : *states) {
      std::vector<kvs_state_row>& own = rows_.emplace_back();
      for (const auto& [layer, part, halves, bytes] : rows) {
        own.push_back({layer, part, halves ? KVS_F16 : KVS_F32, bytes.data(),
                       bytes.size() / (halves ? 2 : 4)});
      }
      states_.push_back({position, model_layers, own.data(), own.size()});
    }
    c_ = {states_.data(), states_.size(), encoding, instead_of};
  }
  States(const States&) = delete;

  const kvs_states* c() const { return given_ ? &c_ : nullptr; }

 private:
  bool given_;
  std::vector<std::vector<kvs_state_row>> rows_;
  std::vector<kvs_state> states_;
  kvs_states c_{};
};

inline StateTuple to_python(const kvs_state& state) {
  StateTuple made{state.position, state.model_layers, {}};
  for (size_t i = 0; i < state.row_count; ++i) {
    const kvs_state_row& row = state.rows[i];
    const bool halves = row.element == KVS_F16;
    std::get<2>(made).emplace_back(row.layer, row.part, halves,
                                   nb::bytes(row.data, row.count * (halves ? 2 : 4)));
  }
  return made;
}

}  // namespace kvsplice::python
