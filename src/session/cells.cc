#include "session/cells.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "core/half.h"

namespace kvsplice::session {

Result<> check_tokens(std::span<const int32_t> tokens, const ModelShape& shape) {
  const int32_t last =
      shape.vocabulary > 0 ? shape.vocabulary - 1 : std::numeric_limits<int32_t>::max();
  for (size_t i = 0; i < tokens.size(); ++i) {
    if (tokens[i] >= 0 && tokens[i] <= last) continue;
    return Error{ErrorKind::unsupported,
                 fmt::format("token {} at place {} is none of the model's, 0 ... {}{}", tokens[i],
                             i, last, tokens[i] < 0 ? " (does it stand for an image?)" : "")};
  }
  return {};
}

namespace {

// A layer with a window may lack rows of absent tokens.
Result<> check_rows(const RowsView& rows, const LayerShape& layer, Kind kind, const KvView& cells) {
  const auto width = static_cast<size_t>(layer.width(kind));
  const size_t least = layer.window > 0 ? cells.count() - cells.absent : cells.count();
  if (rows.rows >= least && rows.rows <= cells.count() && rows.cols == width) return {};
  return Error{ErrorKind::usage,
               fmt::format("{}s of layer {} are {} x {}, wanted {} x {}", name(kind), layer.layer,
                           rows.rows, rows.cols, cells.count(), width)};
}

Result<> check_positions(std::span<const int32_t> positions, size_t count) {
  if (positions.size() != count) {
    return Error{ErrorKind::usage,
                 fmt::format("{} positions of {} cells", positions.size(), count)};
  }
  for (size_t i = 0; i < count; ++i) {
    if (positions[i] >= 0 && positions[i] - positions[0] == int64_t(i)) continue;
    return Error{
        ErrorKind::usage,
        fmt::format("cell {} is at position {}; they must follow each other", i, positions[i])};
  }
  return {};
}

}  // namespace

Result<> check_cells(const KvView& cells, const ModelShape& shape) {
  KVS_TRY(check_tokens(cells.tokens, shape));
  KVS_TRY(check_positions(cells.positions, cells.count()));
  if (cells.space != Space::cached) {
    return Error{ErrorKind::usage, "cells must be as a cache holds them, keys after RoPE"};
  }
  if (cells.absent > cells.count()) {
    return Error{ErrorKind::usage,
                 fmt::format("{} of {} cells are absent", cells.absent, cells.count())};
  }
  for (Kind kind : {Kind::key, Kind::value}) {
    const auto& layers = cells.of(kind);
    if (layers.size() != shape.layers.size()) {
      return Error{ErrorKind::usage, fmt::format("{} {} layers; the model has {}", layers.size(),
                                                 name(kind), shape.layers.size())};
    }
    for (size_t l = 0; l < layers.size(); ++l) {
      KVS_TRY(check_rows(layers[l], shape.layers[l], kind, cells));
    }
  }
  return {};
}

std::string describe(const CellPlace& place) {
  return fmt::format("value {} of the {}s of layer {} at position {}", place.column,
                     name(place.kind), place.layer, place.position);
}

namespace {

// The first of the values for which `odd` holds, of rows as T; those that are absent, and units
// whose elements are not looked at, are passed over.
template <class T, class Looked, class Odd>
std::optional<CellPlace> first_odd(const KvView& cells, const ModelShape& shape,
                                   const Looked& looked_at, const Odd& is_odd) {
  std::vector<T> row;
  for (Kind kind : {Kind::key, Kind::value}) {
    for (size_t l = 0; l < shape.layers.size(); ++l) {
      const RowsView& rows = cells.of(kind)[l];
      if (!looked_at(rows.element)) continue;
      const size_t before = cells.count() - rows.rows;  // tokens without rows
      const size_t absent = shape.layers[l].window > 0 ? cells.absent : 0;
      row.resize(rows.cols);
      for (size_t r = absent - std::min(absent, before); r < rows.rows; ++r) {
        read_rows(rows.row_range(r, 1), MatrixView<T>(row.data(), 1, row.size()));
        const auto odd = std::find_if(row.begin(), row.end(), is_odd);
        if (odd == row.end()) continue;
        return CellPlace{kind, shape.layers[l].layer,
                         static_cast<size_t>(cells.positions[before + r]),
                         static_cast<size_t>(odd - row.begin())};
      }
    }
  }
  return {};
}

}  // namespace

std::optional<CellPlace> first_not_finite(const KvView& cells, const ModelShape& shape) {
  return first_odd<uint16_t>(
      cells, shape, [](Element) { return true; }, [](uint16_t x) { return !is_finite_half(x); });
}

Result<> check_rounding(const KvView& cells, const ModelShape& shape, bool lossless) {
  const auto rounded = [](Element element) { return element != Element::f16; };
  const auto infinite = [](float x) { return !std::isfinite(x); };
  const auto changed = [](float x) { return from_half(to_half(x)) != x; };
  if (const auto place = first_odd<float>(cells, shape, rounded, infinite)) {
    return Error{ErrorKind::numeric, describe(*place) + " is infinite or not a number"};
  }
  if (!lossless) return {};
  const auto place = first_odd<float>(cells, shape, rounded, changed);
  if (!place) return {};
  return Error{
      ErrorKind::numeric,
      describe(*place) + " is no f16, as which it would be kept; a codec takes it rounded"};
}

Result<> check_finite(const KvView& cells, const ModelShape& shape) {
  const auto place = first_not_finite(cells, shape);
  if (!place) return {};
  return Error{ErrorKind::numeric, describe(*place) + " is infinite or not a number"};
}

size_t first_in_sight(const ModelShape& shape, size_t position) {
  return shape.tokens_out_of_sight(position + 1);
}

Result<> check_sight(size_t absent, size_t count, const ModelShape& shape) {
  const size_t needed = std::min(first_in_sight(shape, count), count);
  if (absent <= needed) return {};
  return Error{ErrorKind::unsupported,
               fmt::format("layers with a sliding window have no rows of tokens {} ... {}, which "
                           "the next tokens see; only the whole session has what they need",
                           needed, absent - 1)};
}

}  // namespace kvsplice::session
