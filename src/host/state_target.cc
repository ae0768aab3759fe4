#include "host/state_target.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <numeric>

#include "core/threads.h"

namespace kvsplice::host {

namespace {

// One number for all layers of a cache.
Result<> note_turned(uint32_t turned, bool first, uint32_t& of_cache) {
  if (first) of_cache = turned;
  if (of_cache == turned) return {};
  return Error{ErrorKind::unsupported,
               fmt::format("layers of one cache are turned by {} and by {} values; states of this "
                           "version say one number",
                           of_cache, turned)};
}

uint32_t turned(const StateTarget& target, Kind kind, size_t layer) {
  return is_quantised(target.type(kind)) ? target.turns[layer].of(kind) : 0;
}

// Cells [first, end) of the layers with a window, or of those without one; rows without data.
Result<StateCache> make_cache(size_t first, size_t end, std::span<const int32_t> tokens,
                              const ModelShape& shape, bool windows, const StateTarget& target) {
  StateCache cache;
  const auto own = tokens.subspan(first, end - first);
  if (shape.places) cache.tokens.assign(own.begin(), own.end());
  cache.values_transposed = target.values_transposed;
  cache.positions.resize(end - first);
  std::iota(cache.positions.begin(), cache.positions.end(), static_cast<int32_t>(first));
  for (Kind kind : {Kind::key, Kind::value}) {
    const auto type = static_cast<int32_t>(target.type(kind));
    auto& layers = kind == Kind::key ? cache.keys : cache.values;
    uint32_t& of_cache = kind == Kind::key ? cache.turns.keys : cache.turns.values;
    for (size_t l = 0; l < shape.layers.size(); ++l) {
      const LayerShape& layer = shape.layers[l];
      if ((layer.window > 0) != windows || layer.width(kind) == 0) continue;
      const uint32_t side = turned(target, kind, l);
      if (target.version.says_turns()) KVS_TRY(note_turned(side, layers.empty(), of_cache));
      KVS_TRY(row_layout(type, layer, kind, side));
      KVS_ASSIGN(const size_t bytes, row_bytes(type, size_t(layer.width(kind))));
      layers.push_back({type, bytes, {}});
    }
    if (windows || (kind == Kind::value && shape.lacks_values())) continue;
    for (const size_t place : empty_places(shape)) {
      layers.insert(layers.begin() + static_cast<ptrdiff_t>(place), StateRows{type, 0, {}});
    }
  }
  return cache;
}

// Error unless it is there if the model has recurrent layers, and where the cells end.
Result<> check_recurrent(const session::RecurrentState* recurrent, size_t cells,
                         const ModelShape& shape) {
  if (!shape.hybrid()) return {};
  if (recurrent == nullptr || recurrent->position != cells) {
    return Error{ErrorKind::unsupported,
                 fmt::format("a hybrid's state of {} cells needs what its recurrent layers hold "
                             "behind them; {}",
                             cells,
                             recurrent == nullptr ? std::string("nothing of it is there")
                                                  : fmt::format("it is there behind token {}",
                                                                recurrent->position))};
  }
  return session::check_state(*recurrent, shape);
}

Result<> check_target(const StateTarget& target) {
  if (target.streams < 1 || target.streams > kMostStreams) {
    return Error{ErrorKind::usage,
                 fmt::format("{} streams; legal: 1 ... {}", target.streams, kMostStreams)};
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
    if (!cache.values.empty()) {
      target.value_type = static_cast<CellType>(cache.values[0].type);
    }
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

Result<StateFrame> StateFrame::make(std::span<const int32_t> tokens, size_t absent,
                                    std::span<const int32_t> pending, const ModelShape& shape,
                                    const StateTarget& wanted, const RoomFor& room,
                                    const session::RecurrentState* recurrent) {
  StateTarget target = wanted;
  if (target.turns.empty()) target.turns = usual_turns(shape);
  KVS_TRY(check_target(target));
  KVS_TRY(session::check_tokens(tokens, shape));
  KVS_TRY(session::check_tokens(pending, shape));
  const StateExtent extent = extent_of_state(target.form, tokens.size(), pending.size());
  KVS_TRY(session::check_sight(absent, extent.cells, shape));
  KVS_TRY(check_recurrent(recurrent, extent.cells, shape));
  StateBlob blob;
  blob.form = target.form;
  blob.version = target.version;
  blob.streams = target.streams;
  blob.architecture = shape.architecture;
  blob.tokens.assign(tokens.begin(), tokens.end());
  blob.tokens.insert(blob.tokens.end(), pending.begin(), pending.end());
  blob.tokens.resize(extent.tokens);
  for (const bool windows : {false, true}) {
    if (windows && shape.longest_window() == 0) continue;
    const size_t first = windows ? std::max(absent, shape.tokens_out_of_sight(extent.cells)) : 0;
    KVS_ASSIGN(StateCache cache, make_cache(first, extent.cells, tokens, shape, windows, target));
    blob.caches.push_back(std::move(cache));
  }
  if (shape.hybrid()) blob.recurrent = *recurrent;
  StateFrame frame;
  frame.cells_ = extent.cells;
  frame.layers_ = shape.layers.size();
  std::vector<RowsAt> places;
  const size_t most = most_state_bytes(blob);
  if (room) {
    KVS_ASSIGN(frame.begin_, room(most));
  } else {
    frame.bytes_.resize(most);
    frame.begin_ = frame.bytes_.data();
  }
  frame.size_ = write_state(blob, {frame.begin_, most}, &places);
  frame.plan(shape, target, blob, places);
  return frame;
}

void StateFrame::plan(const ModelShape& shape, const StateTarget& target, const StateBlob& blob,
                      const std::vector<RowsAt>& places) {
  for (size_t c = 0; c < blob.caches.size(); ++c) {
    const StateCache& cache = blob.caches[c];
    if (cache.cells() == 0) continue;
    for (Kind kind : {Kind::key, Kind::value}) {
      const auto& layers = kind == Kind::key ? cache.keys : cache.values;
      const auto& at = kind == Kind::key ? places[c].keys : places[c].values;
      size_t i = 0;
      for (size_t l = 0; l < shape.layers.size(); ++l) {
        if ((shape.layers[l].window > 0) != (c == 1) || shape.layers[l].width(kind) == 0) continue;
        while (layers[i].row_bytes == 0) ++i;  // of a layer without attention
        const RowLayout layout{target.type(kind), size_t(shape.layers[l].width(kind)),
                               turned(target, kind, l)};
        rows_.push_back({kind, l, cells_ - cache.cells(), layout, at[i++],
                         target.values_transposed && kind == Kind::value});
      }
    }
  }
}

RowsPlace StateFrame::place_of(const Rows& rows) {
  const size_t n = cells_ - rows.first, width = rows.layout.width;
  if (rows.transposed) return {begin_ + rows.at, n, width, 1, static_cast<ptrdiff_t>(n)};
  return {begin_ + rows.at, n, width, static_cast<ptrdiff_t>(width), 1};
}

std::optional<KvPlace> StateFrame::place() {
  KvPlace place;
  place.count = cells_;
  place.keys.resize(layers_);
  place.values.resize(layers_);
  for (const Rows& rows : rows_) {
    if (rows.layout.type != CellType::f16) return {};
    place.of(rows.kind)[rows.layer] = place_of(rows);
  }
  return place;
}

// Rows of the tokens from rows.first on.
void StateFrame::fill(const RowsView& from, const Rows& rows) {
  const RowLayout& layout = rows.layout;
  if (layout.type == CellType::f16) {  // to the bit
    const RowsPlace to = place_of(rows);
    Matrix<uint16_t> row(1, layout.width);
    for (size_t r = 0; r < from.rows; ++r) {
      read_rows(from.row_range(r, 1), row);
      write_rows(row, to.row_range(r, 1));
    }
    return;
  }
  const size_t bytes = row_bytes(int32_t(layout.type), layout.width).value();
  const size_t element = bytes / layout.width;
  Matrix<float> row(1, layout.width);
  Bytes coded(bytes);
  for (size_t r = 0; r < from.rows; ++r) {
    read_rows(from.row_range(r, 1), row);
    encode_row(row.row(0), layout, coded.data());
    if (!rows.transposed) {
      std::memcpy(begin_ + rows.at + r * bytes, coded.data(), bytes);
      continue;
    }
    for (size_t c = 0; c < layout.width; ++c) {  // the first values of all rows come first
      std::memcpy(begin_ + rows.at + (c * from.rows + r) * element, &coded[c * element], element);
    }
  }
}

void StateFrame::fill(const KvView& cells) {
  parallel_for(rows_.size(), [&](size_t i) {
    const Rows& rows = rows_[i];
    const RowsView& from = cells.of(rows.kind)[rows.layer];
    const size_t before = cells.count() - from.rows;  // tokens without rows
    fill(from.row_range(rows.first - before, cells_ - rows.first), rows);
  });
}

Result<Bytes> to_state(const KvView& cells, std::span<const int32_t> pending,
                       const ModelShape& shape, const StateTarget& target,
                       const session::RecurrentState* recurrent) {
  KVS_TRY(session::check_cells(cells, shape));
  const bool quantised = is_quantised(target.key_type) || is_quantised(target.value_type);
  KVS_ASSIGN(StateFrame frame,
             StateFrame::make(cells.tokens, cells.absent, pending, shape, target, {}, recurrent));
  if (quantised) KVS_TRY(session::check_finite(cells, shape));
  frame.fill(cells);
  return frame.take();
}

}  // namespace kvsplice::host
