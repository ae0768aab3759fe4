// Recurrent states of hybrid models, as Python's tuples and as the C interface has them.
#pragma once

#include <nanobind/ndarray.h>
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/vector.h>

#include <optional>
#include <tuple>
#include <vector>

#include "arrays.h"

namespace kvsplice::python {

using StateValues = nb::ndarray<nb::ro, nb::ndim<1>, nb::c_contig, nb::device::cpu>;
using StateRow = std::tuple<int, kvs_state_part, StateValues>;  // layer of the model, part, values
// Position, layers of the model, rows.
using StateList = std::vector<std::tuple<size_t, int, std::vector<StateRow>>>;

// What a block is given. The arrays must outlive it.
class States {
 public:
  States(const std::optional<StateList>& states, kvs_state_encoding encoding, size_t instead_of)
      : given_(states.has_value()) {
    if (!given_) return;
    rows_.reserve(states->size());
    for (const auto& [position, model_layers, rows] : *states) {
      std::vector<kvs_state_row>& own = rows_.emplace_back();
      for (const auto& [layer, part, values] : rows) {
        const bool halves = values.dtype() != nb::dtype<float>();  // as recurrent.py has checked
        own.push_back({layer, part, halves ? KVS_F16 : KVS_F32, values.data(), values.shape(0)});
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

// Position, layers of the model, and rows (layer, part, whether halves, bytes).
inline nb::object to_python(const kvs_state& state) {
  nb::list rows;
  for (size_t i = 0; i < state.row_count; ++i) {
    const kvs_state_row& row = state.rows[i];
    const bool halves = row.element == KVS_F16;
    rows.append(nb::make_tuple(row.layer, row.part, halves,
                               nb::bytes(row.data, row.count * (halves ? 2 : 4))));
  }
  return nb::make_tuple(state.position, state.model_layers, rows);
}

}  // namespace kvsplice::python
