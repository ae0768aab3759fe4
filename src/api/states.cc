#include "api/states.h"

#include <fmt/format.h>

#include "core/errors.h"
#include "core/limits.h"

namespace kvsplice::api {

namespace {

using session::RecurrentState;
using session::StateEncoding;
using session::StatePart;
using session::StateRow;

constexpr int32_t kF32 = 0, kF16 = 1;  // as llama.cpp numbers them

Result<StateEncoding> encoding_of(kvs_state_encoding encoding) {
  switch (encoding) {
    case KVS_STATES_EXACT:
      return StateEncoding::exact;
    case KVS_STATES_F16:
      return StateEncoding::f16;
    case KVS_STATES_Q8:
      return StateEncoding::q8;
  }
  return usage_error(fmt::format(
      "states as {}; legal: KVS_STATES_EXACT, KVS_STATES_F16, KVS_STATES_Q8", encoding));
}

Result<StateRow> row_of(const kvs_state_row& lent) {
  if (lent.layer < 0 || lent.layer >= limits::kLayers || lent.count > limits::kStateValues) {
    return usage_error(
        fmt::format("{} numbers of recurrent layer {}; legal: at most {} of a layer "
                    "below {}",
                    lent.count, lent.layer, limits::kStateValues, limits::kLayers));
  }
  if (lent.part != KVS_STATE_R && lent.part != KVS_STATE_S) {
    return usage_error(
        fmt::format("part {} of a state; legal: KVS_STATE_R, KVS_STATE_S", lent.part));
  }
  if (lent.element != KVS_F32 && lent.element != KVS_F16) {
    return usage_error(
        fmt::format("element type {} of a state; legal: KVS_F32, KVS_F16", lent.element));
  }
  if (lent.data == nullptr && lent.count > 0) {
    return usage_error(fmt::format("no numbers of recurrent layer {}", lent.layer));
  }
  StateRow row;
  row.layer = lent.layer;
  row.part = static_cast<StatePart>(lent.part);
  row.type = lent.element == KVS_F32 ? kF32 : kF16;
  const auto* from = static_cast<const uint8_t*>(lent.data);
  if (lent.count > 0) row.data.assign(from, from + lent.count * (row.type == kF32 ? 4 : 2));
  return row;
}

Result<RecurrentState> state_of(const kvs_state& lent) {
  if (lent.position < 1 || lent.position > limits::kTokens || lent.model_layers < 0 ||
      lent.model_layers > limits::kLayers || lent.row_count > 2 * size_t{limits::kLayers}) {
    return usage_error(fmt::format(
        "a state behind {} tokens, of {} layers and {} rows; legal: 1 "
        "... {}, at most {} and two a layer",
        lent.position, lent.model_layers, lent.row_count, limits::kTokens, limits::kLayers));
  }
  if (lent.rows == nullptr && lent.row_count > 0) return usage_error("no rows of a state");
  RecurrentState state;
  state.position = lent.position;
  state.model_layers = static_cast<uint32_t>(lent.model_layers);
  for (size_t i = 0; i < lent.row_count; ++i) {
    KVS_ASSIGN(StateRow row, row_of(lent.rows[i]));
    state.rows.push_back(std::move(row));
  }
  return state;
}

}  // namespace

Result<LentStates> states_of(const kvs_block& block, bool hybrid) {
  LentStates own;
  if (block.states == nullptr) {
    if (!hybrid) return own;
    return usage_error(
        "of a hybrid model, and no states: text cannot go on from cells alone; legal: "
        "states, or a count of 0 of them to keep the cells only");
  }
  const kvs_states& lent = *block.states;
  if (lent.states == nullptr && lent.count > 0) return usage_error("no states");
  KVS_ASSIGN(own.encoding, encoding_of(lent.encoding));
  own.instead_of = lent.instead_of;
  for (size_t i = 0; i < lent.count; ++i) {
    KVS_ASSIGN(RecurrentState state, state_of(lent.states[i]));
    own.states.push_back(std::move(state));
  }
  return own;
}

Result<std::vector<RecurrentLayer>> layers_of(const LentStates& lent) {
  std::vector<RecurrentLayer> layers;
  if (lent.states.empty()) return layers;
  const auto& rows = lent.states.front().rows;
  const size_t half = rows.size() / 2;
  if (half == 0 || rows.size() % 2 != 0) {
    return usage_error(fmt::format("a state of {} rows; legal: two a layer", rows.size()));
  }
  for (size_t i = 0; i < half; ++i) {
    const auto values = [](const StateRow& row) {
      return row.data.size() / (row.type == kF32 ? 4 : 2);
    };
    layers.push_back({rows[i].layer, values(rows[i]), values(rows[half + i])});
  }
  return layers;
}

Result<> hand_out(const RecurrentState& from, const Options& options, kvs_state& state,
                  kvs_buffer& memory) {
  std::vector<kvs_state_row> rows;
  ByteWriter out;
  out.reserve(from.rows.size() * sizeof(kvs_state_row) + from.bytes());
  out.put_zeros(from.rows.size() * sizeof(kvs_state_row));
  for (const StateRow& row : from.rows) {
    const kvs_element element = row.type == kF32 ? KVS_F32 : KVS_F16;
    rows.push_back({row.layer, static_cast<kvs_state_part>(row.part), element, nullptr,
                    row.data.size() / (row.type == kF32 ? 4 : 2)});
    out.put_bytes(row.data);
  }
  KVS_TRY(hand_out(out.bytes(), options, memory));
  const uint8_t* data = memory.data + rows.size() * sizeof(kvs_state_row);
  for (size_t i = 0; i < rows.size(); ++i) {
    rows[i].data = data;
    data += from.rows[i].data.size();
  }
  if (!rows.empty()) std::memcpy(memory.data, rows.data(), rows.size() * sizeof(kvs_state_row));
  state = {from.position, static_cast<int>(from.model_layers),
           reinterpret_cast<const kvs_state_row*>(memory.data), rows.size()};
  return {};
}

}  // namespace kvsplice::api
