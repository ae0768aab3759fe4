#include "host/state_rows.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <numeric>

#include "core/half.h"

namespace kvsplice::host {

namespace {

// Where the rows of one layer and kind are in a state, and how they lie there.
struct Source {
  const StateRows& rows;
  RowLayout layout;
  size_t cells;
  bool transposed;
};

// Cell `cell` of transposed values, whose first values of all cells come first.
void gather(const Source& from, size_t cell, Bytes& row) {
  const size_t element = row.size() / from.layout.width;
  for (size_t c = 0; c < from.layout.width; ++c) {
    std::memcpy(&row[c * element], &from.rows.data[(c * from.cells + cell) * element], element);
  }
}

struct Halves {
  Matrix<uint16_t> rows;
  size_t rounded = 0, first_rounded = 0;  // how many f32 values, and the index of the first
};

void round_row(std::span<const float> row, size_t r, bool count, Halves& out) {
  for (size_t c = 0; c < row.size(); ++c) {
    const uint16_t half = to_finite_half(row[c]);
    out.rows(r, c) = half;
    if (!count || !std::isfinite(row[c]) || from_half(half) == row[c]) continue;
    if (out.rounded++ == 0) out.first_rounded = r * row.size() + c;
  }
}

// Whether rows lie there as cells do, one behind the other.
bool in_place(const Source& from, std::span<const size_t> order) {
  if (from.layout.type != CellType::f16 || from.layout.turned != 0) return false;
  for (size_t i = 0; i < order.size(); ++i) {
    if (order[i] != order[0] + i) return false;
  }
  return true;
}

RowsView view_of(const Source& from, size_t first, size_t n) {
  const auto width = static_cast<ptrdiff_t>(from.layout.width);
  if (from.transposed) {
    return {&from.rows.data[2 * first],         n,           from.layout.width, 1,
            static_cast<ptrdiff_t>(from.cells), Element::f16};
  }
  return {
      &from.rows.data[first * from.rows.row_bytes], n, from.layout.width, width, 1, Element::f16};
}

// Cells order[0], order[1], ...
Result<Halves> copy_rows(const Source& from, std::span<const size_t> order) {
  const CellType type = from.layout.type;
  if (from.transposed && type == CellType::q8_0) {
    return Error{ErrorKind::unsupported, "transposed values of type q8_0"};
  }
  Halves out{Matrix<uint16_t>(order.size(), from.layout.width)};
  Bytes gathered(from.rows.row_bytes);
  std::vector<float> row(from.layout.width);
  for (size_t r = 0; r < order.size(); ++r) {
    if (from.transposed) gather(from, order[r], gathered);
    const uint8_t* at =
        from.transposed ? gathered.data() : &from.rows.data[order[r] * from.rows.row_bytes];
    if (type == CellType::f16 && from.layout.turned == 0) {
      std::memcpy(out.rows.row(r).data(), at, from.rows.row_bytes);  // to the bit
    } else {
      decode_row(at, from.layout, row);
      round_row(row, r, type == CellType::f32, out);
    }
  }
  return out;
}

// The cells of positions first ... end - 1, in this order; each must be there once, and cells at
// lower positions are passed over.
Result<std::vector<size_t>> order_of(const StateCache& cache, size_t first, size_t end) {
  const size_t none = cache.cells();
  std::vector<size_t> order(end - first, none);
  for (size_t i = 0; i < cache.cells(); ++i) {
    const int64_t position = cache.positions[i];
    if (position >= 0 && position < int64_t(first)) continue;
    if (position < 0 || position >= int64_t(end) || order[size_t(position) - first] != none) {
      return Error{ErrorKind::unsupported,
                   fmt::format("cell {} is at position {}; positions must be {} ... {}, each once",
                               i, position, first, int64_t(end) - 1)};
    }
    order[size_t(position) - first] = i;
  }
  if (const auto gap = std::find(order.begin(), order.end(), none); gap != order.end()) {
    return Error{ErrorKind::unsupported,
                 fmt::format("no cell is at position {}; {} ... {} are needed",
                             first + size_t(gap - order.begin()), first, end - 1)};
  }
  return order;
}

// How the heads of a layer lie turned: as the state says, or else as quantised ones are.
uint32_t turned(const StateBlob& blob, const StateCache& cache, const StateRows& rows,
                const Turns& usual, Kind kind) {
  if (blob.version.says_turns()) return cache.turns.of(kind);
  return rows.type == int32_t(CellType::q8_0) ? usual.of(kind) : 0;
}

// Rows of the layers of one cache of the state, which are cells from `absent` on.
Result<> read_layers(const StateBlob& blob, size_t index, const ModelShape& shape,
                     std::span<const Turns> turns, size_t absent, StateCells& made) {
  const StateCache& cache = blob.caches[index];
  KVS_ASSIGN(const std::vector<int> layers, layers_of_cache(blob, index, shape));
  KVS_ASSIGN(const std::vector<size_t> order, order_of(cache, absent, made.cells.count()));
  for (Kind kind : {Kind::key, Kind::value}) {
    for (size_t i = 0; i < layers.size(); ++i) {
      const LayerShape& layer = shape.layers[layers[i]];
      RowsView& to = made.cells.of(kind)[layers[i]];
      to = RowsView(nullptr, 0, size_t(layer.width(kind)), layer.width(kind), 1, Element::f16);
      if (layer.width(kind) == 0) to.rows = order.size();
      if (order.empty() || layer.width(kind) == 0) continue;
      const StateRows& rows = (kind == Kind::key ? cache.keys : cache.values)[i];
      const uint32_t side = turned(blob, cache, rows, turns[layers[i]], kind);
      KVS_ASSIGN(const RowLayout layout, row_layout(rows.type, layer, kind, side));
      const bool transposed = cache.values_transposed && kind == Kind::value;
      const Source from{rows, layout, cache.cells(), transposed};
      if (in_place(from, order)) {
        to = view_of(from, order[0], order.size());
        continue;
      }
      KVS_ASSIGN(Halves read, copy_rows(from, order));
      if (read.rounded > 0 && made.rounded == 0) {
        made.first_rounded =
            session::CellPlace{kind, layer.layer, absent + read.first_rounded / layout.width,
                               read.first_rounded % layout.width};
      }
      made.rounded += read.rounded;
      to = RowsView(read.rows.view());
      made.copied.push_back(std::move(read.rows));
    }
  }
  return {};
}

// The first cell that layers with a window have. What llama.cpp saves begins one before what the
// next token sees; a state whose newest cell was left out begins there.
size_t first_held(const StateCache& cache, const ModelShape& shape, size_t n) {
  const size_t usual = shape.tokens_out_of_sight(n);
  const auto& held = cache.positions;
  const bool there = std::find(held.begin(), held.end(), int32_t(usual)) != held.end();
  return there ? usual : std::min(session::first_in_sight(shape, n), n);
}

// That of hybrids, which stands where the cells end.
Result<std::optional<session::RecurrentState>> recurrent_of(const StateBlob& blob,
                                                            const ModelShape& shape) {
  const size_t n = blob.caches[0].cells();
  if (!shape.hybrid() || (n == 0 && !blob.recurrent)) {
    return std::optional<session::RecurrentState>();
  }
  if (!blob.recurrent) {
    return Error{ErrorKind::mismatch, "the state has cells but nothing of recurrent layers"};
  }
  KVS_TRY(session::check_state(*blob.recurrent, shape));
  if (blob.recurrent->position == n) return blob.recurrent;
  return Error{ErrorKind::mismatch,
               fmt::format("the state has {} cells, its recurrent layers have seen {} tokens", n,
                           blob.recurrent->position)};
}

Result<> check_cell_tokens(const StateCache& cache, std::span<const int32_t> tokens) {
  for (size_t i = 0; i < cache.tokens.size(); ++i) {
    const auto at = static_cast<size_t>(cache.positions[i]);
    if (at >= tokens.size() || tokens[at] == cache.tokens[i]) continue;
    return Error{ErrorKind::mismatch, fmt::format("the cell at position {} is of token {}, not {}",
                                                  at, cache.tokens[i], tokens[at])};
  }
  return {};
}

}  // namespace

Result<StateCells> to_cells(const StateBlob& blob, const ModelShape& shape,
                            std::span<const int32_t> tokens, std::span<const Turns> turns) {
  KVS_TRY(layers_of_cache(blob, 0, shape));
  KVS_TRY(session::check_tokens(tokens, shape));
  for (const StateCache& cache : blob.caches) KVS_TRY(check_cell_tokens(cache, tokens));
  const size_t n = blob.caches[0].cells();
  if (tokens.size() < n) {
    return Error{
        ErrorKind::format,
        fmt::format("the state has {} cells but only {} tokens are known", n, tokens.size())};
  }
  const std::vector<Turns> usual = usual_turns(shape);
  if (turns.empty()) turns = usual;
  StateCells made;
  made.tokens.assign(tokens.begin(), tokens.begin() + static_cast<ptrdiff_t>(n));
  made.positions.resize(n);
  std::iota(made.positions.begin(), made.positions.end(), 0);
  made.pending.assign(tokens.begin() + static_cast<ptrdiff_t>(n), tokens.end());
  made.cells.tokens = made.tokens;
  made.cells.positions = made.positions;
  made.cells.space = Space::cached;
  made.cells.keys.resize(shape.layers.size());
  made.cells.values.resize(shape.layers.size());
  KVS_ASSIGN(made.recurrent, recurrent_of(blob, shape));
  KVS_TRY(read_layers(blob, 0, shape, turns, 0, made));
  if (blob.caches.size() == 1) return made;
  made.cells.absent = first_held(blob.caches[1], shape, n);
  KVS_TRY(read_layers(blob, 1, shape, turns, made.cells.absent, made));
  return made;
}

}  // namespace kvsplice::host
