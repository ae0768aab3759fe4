#include "host/recurrent_part.h"

#include <fmt/format.h>

#include "core/errors.h"
#include "core/limits.h"

namespace kvsplice::host {

namespace {

using session::RecurrentState;
using session::StatePart;
using session::StateRow;

// How many tokens the only cell has seen.
Result<size_t> read_cell(ByteReader& in) {
  KVS_ASSIGN(const int32_t position, in.get<int32_t>());
  KVS_ASSIGN(const uint32_t sequences, in.get<uint32_t>());
  if (position < 0 || size_t(position) >= limits::kTokens) {
    return format_error(fmt::format("a recurrent state at position {}; legal: 0 ... {}", position,
                                    limits::kTokens - 1));
  }
  if (sequences > 1) {
    return Error{ErrorKind::unsupported,
                 fmt::format("a recurrent state of {} sequences; one is handled", sequences)};
  }
  if (sequences == 1) KVS_TRY(in.get<int32_t>());
  return size_t(position) + 1;
}

Result<StateRow> read_row(ByteReader& in, bool filled) {
  StateRow row;
  KVS_ASSIGN(row.type, in.get<int32_t>());
  KVS_ASSIGN(const uint64_t bytes, in.get<uint64_t>());
  if (row.type != 0 && row.type != 1) {
    return Error{ErrorKind::unsupported,
                 fmt::format("a recurrent state of type {}; legal: 0 (f32), 1 (f16)", row.type)};
  }
  if (!filled) return row;
  if (bytes > in.left()) {
    return format_error(
        fmt::format("truncated: a recurrent state's row of {} bytes, {} left", bytes, in.left()));
  }
  KVS_ASSIGN(const ByteSpan data, in.take(bytes));
  row.data.assign(data.begin(), data.end());
  return row;
}

// All rows r, then all rows s.
void name_rows(std::span<const RecurrentLayer> layers, std::vector<StateRow>& rows) {
  const size_t half = rows.size() / 2;
  for (size_t i = 0; i < rows.size(); ++i) {
    const size_t place = i % std::max<size_t>(half, 1);
    rows[i].part = i < half ? StatePart::r : StatePart::s;
    rows[i].layer = layers.empty() ? static_cast<int>(place) : layers[place].layer;
  }
}

Result<std::vector<StateRow>> read_rows(ByteReader& in, std::span<const RecurrentLayer> layers,
                                        uint32_t model_layers, bool filled) {
  const size_t most = 2 * (layers.empty() ? size_t{model_layers} : layers.size());
  std::vector<StateRow> rows;
  while (rows.size() < most && (!layers.empty() || in.left() > 0)) {
    KVS_ASSIGN(StateRow row, read_row(in, filled));
    rows.push_back(std::move(row));
  }
  if (rows.size() % 2 != 0) {
    return format_error(
        fmt::format("a recurrent state of {} rows; legal: two a layer", rows.size()));
  }
  name_rows(layers, rows);
  return rows;
}

}  // namespace

Result<std::optional<RecurrentState>> read_recurrent(ByteReader& in,
                                                     std::span<const RecurrentLayer> layers) {
  KVS_ASSIGN(const uint32_t cells, in.get<uint32_t>());
  if (cells > 1) {
    return Error{ErrorKind::unsupported,
                 fmt::format("{} recurrent states: several sequences in one state; save each by "
                             "itself",
                             cells)};
  }
  RecurrentState state;
  if (cells == 1) {
    KVS_ASSIGN(state.position, read_cell(in));
  }
  KVS_ASSIGN(const uint32_t transposed, in.get<uint32_t>());
  KVS_ASSIGN(state.model_layers, in.get<uint32_t>());
  if (transposed != 0 || state.model_layers > limits::kLayers) {
    return format_error(fmt::format("{} layers, transposed = {}: not a recurrent state",
                                    state.model_layers, transposed));
  }
  KVS_ASSIGN(state.rows, read_rows(in, layers, state.model_layers, cells == 1));
  if (cells == 0) return std::optional<RecurrentState>();
  return std::optional<RecurrentState>(std::move(state));
}

size_t most_recurrent_bytes(const RecurrentState& state) {
  constexpr size_t kNumbers = 24, kRow = 12;
  return kNumbers + kRow * state.rows.size() + state.bytes();
}

void write_recurrent(const RecurrentState& state, bool names_sequence, StateWriter& out) {
  out.put(uint32_t{1});
  out.put(static_cast<int32_t>(state.position) - 1);
  out.put(uint32_t{names_sequence});
  if (names_sequence) out.put(int32_t{0});
  out.put(uint32_t{0});
  out.put(state.model_layers);
  for (const StateRow& row : state.rows) {
    out.put(row.type);
    out.put(uint64_t{row.data.size()});
    out.put_array(std::span<const uint8_t>(row.data));
  }
}

}  // namespace kvsplice::host
