#include "session/state_target.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <deque>

#include "core/half.h"

namespace kvsplice::session {

namespace {

// Where the bytes of written rows stay while spans point to them.
using Kept = std::deque<Bytes>;

Bytes write_rows(MatrixView<const uint16_t> rows, const RowLayout& layout) {
  ByteWriter out;
  std::vector<float> row(rows.cols);
  for (size_t r = 0; r < rows.rows; ++r) {
    if (layout.type == CellType::f16 && layout.turned == 0) {
      out.put_array(rows.row(r));  // to the bit
    } else {
      std::transform(rows.row(r).begin(), rows.row(r).end(), row.begin(), from_half);
      encode_row(row, layout, out);
    }
  }
  return out.take();
}

// The first values of all rows, then the second ones.
Bytes transpose(const Bytes& rows, size_t count, size_t width) {
  Bytes out(rows.size());
  if (rows.empty()) return out;
  const size_t element = rows.size() / (count * width);
  for (size_t r = 0; r < count; ++r) {
    for (size_t c = 0; c < width; ++c) {
      std::memcpy(&out[(c * count + r) * element], &rows[(r * width + c) * element], element);
    }
  }
  return out;
}

// One number for all layers of a cache.
Result<> note_turned(uint32_t turned, bool first, uint32_t& of_cache) {
  if (first) of_cache = turned;
  if (of_cache == turned) return {};
  return Error{ErrorKind::unsupported,
               fmt::format("layers of one cache are turned by {} and by {} values; states of this "
                           "version say one number",
                           of_cache, turned)};
}

// Cells [first, end) of the layers with a window, or of those without one.
Result<StateCache> make_cache(const Cells& cells, size_t first, size_t end, const ModelShape& shape,
                              bool windows, const StateTarget& target, Kept& kept) {
  StateCache cache;
  cache.values_transposed = target.values_transposed;
  for (size_t i = first; i < end; ++i) {
    cache.positions.push_back(static_cast<int32_t>(cells.first + i));
  }
  for (Kind kind : {Kind::key, Kind::value}) {
    const auto type = static_cast<int32_t>(target.type(kind));
    auto& layers = kind == Kind::key ? cache.keys : cache.values;
    uint32_t& turned = kind == Kind::key ? cache.turns.keys : cache.turns.values;
    for (size_t l = 0; l < shape.layers.size(); ++l) {
      const LayerShape& layer = shape.layers[l];
      if ((layer.window > 0) != windows) continue;
      const uint32_t side = is_quantised(target.type(kind)) ? target.turns[l].of(kind) : 0;
      if (target.version.says_turns()) KVS_TRY(note_turned(side, layers.empty(), turned));
      KVS_ASSIGN(const RowLayout layout, row_layout(type, layer, kind, side));
      KVS_ASSIGN(const size_t bytes, row_bytes(type, layout.width));
      const MatrixView<const uint16_t> all = cells.of(kind)[l];
      Bytes rows = write_rows(all.row_range(first, end - first), layout);
      const bool turn_over = kind == Kind::value && target.values_transposed;
      kept.push_back(turn_over ? transpose(rows, end - first, layout.width) : std::move(rows));
      layers.push_back({type, bytes, kept.back()});
    }
    if (windows) continue;
    for (const size_t place : empty_places(shape)) {
      layers.insert(layers.begin() + static_cast<ptrdiff_t>(place), StateRows{type, 0, {}});
    }
  }
  return cache;
}

Result<> check_target(const StateTarget& target) {
  if (target.streams < 1 || target.streams > host::kMostStreams) {
    return Error{ErrorKind::usage,
                 fmt::format("{} streams; legal: 1 ... {}", target.streams, host::kMostStreams)};
  }
  if (target.values_transposed && is_quantised(target.value_type)) {
    return Error{ErrorKind::usage,
                 fmt::format("llama.cpp has no cache of {} values without flash attention; legal: "
                             "f16, f32",
                             name(target.value_type))};
  }
  return {};
}

}  // namespace

Result<StateTarget> target_like(const StateBlob& blob, const ModelShape& shape) {
  StateTarget target{.form = blob.form, .version = blob.version, .streams = blob.streams};
  for (size_t i = 0; i < blob.caches.size(); ++i) {
    const StateCache& cache = blob.caches[i];
    KVS_ASSIGN(const std::vector<int> layers, layers_of_cache(blob, i, shape));
    if (cache.cells() == 0 || layers.empty()) continue;
    target.key_type = static_cast<CellType>(cache.keys[0].type);
    target.value_type = static_cast<CellType>(cache.values[0].type);
    target.values_transposed = cache.values_transposed;
    if (!blob.version.says_turns()) continue;
    target.turns.resize(shape.layers.size());
    for (const int l : layers) target.turns[static_cast<size_t>(l)] = cache.turns;
  }
  if (blob.caches[0].cells() > 0) return target;
  return Error{ErrorKind::unsupported, "the state is empty, so it does not show what its cache is"};
}

StateExtent extent_of_state(StateForm form, size_t cells, size_t pending) {
  if (form != StateForm::session_file) return {cells, cells};
  if (pending > 0) return {cells + 1, cells};
  return {cells, cells - std::min<size_t>(cells, 1)};
}

Result<Bytes> to_state(const Cells& cells, std::span<const int32_t> pending,
                       const ModelShape& shape, const StateTarget& wanted) {
  StateTarget target = wanted;
  if (target.turns.empty()) target.turns = host::usual_turns(shape);
  KVS_TRY(check_target(target));
  KVS_TRY(check_cells(cells, shape));
  KVS_TRY(check_tokens(pending, shape));
  const bool quantised = is_quantised(target.key_type) || is_quantised(target.value_type);
  if (quantised) KVS_TRY(check_finite(cells, shape));
  const StateExtent extent = extent_of_state(target.form, cells.count(), pending.size());
  KVS_TRY(check_sight(cells, extent.cells, shape));
  StateBlob blob;
  blob.form = target.form;
  blob.version = target.version;
  blob.streams = target.streams;
  blob.architecture = shape.architecture;
  blob.tokens = cells.tokens;
  blob.tokens.insert(blob.tokens.end(), pending.begin(), pending.end());
  blob.tokens.resize(extent.tokens);
  Kept kept;
  for (const bool windows : {false, true}) {
    if (windows && shape.longest_window() == 0) continue;
    const size_t first =
        windows ? std::max(cells.absent, shape.tokens_out_of_sight(extent.cells)) : 0;
    KVS_ASSIGN(StateCache cache,
               make_cache(cells, first, extent.cells, shape, windows, target, kept));
    blob.caches.push_back(std::move(cache));
  }
  return write_state(blob);
}

}  // namespace kvsplice::session
