#include "session/cells.h"

#include <fmt/format.h>

#include <algorithm>
#include <limits>
#include <numeric>

#include "core/half.h"
#include "core/threads.h"

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

Result<> check_cells(const Cells& cells, const ModelShape& shape) {
  KVS_TRY(check_tokens(cells.tokens, shape));
  for (Kind kind : {Kind::key, Kind::value}) {
    const auto& layers = cells.of(kind);
    if (layers.size() != shape.layers.size()) {
      return Error{ErrorKind::usage, fmt::format("{} {} layers; the model has {}", layers.size(),
                                                 name(kind), shape.layers.size())};
    }
    for (size_t l = 0; l < layers.size(); ++l) {
      const size_t width = shape.layers[l].width(kind);
      if (layers[l].rows() == cells.count() && layers[l].cols() == width) continue;
      return Error{ErrorKind::usage,
                   fmt::format("layer {} {}s are {} x {}, wanted {} x {}", l, name(kind),
                               layers[l].rows(), layers[l].cols(), cells.count(), width)};
    }
  }
  return {};
}

std::string describe(const CellPlace& place) {
  return fmt::format("value {} of the {}s of layer {} at position {}", place.column,
                     name(place.kind), place.layer, place.position);
}

std::optional<CellPlace> first_not_finite(const Cells& cells, const ModelShape& shape) {
  for (Kind kind : {Kind::key, Kind::value}) {
    for (size_t l = 0; l < shape.layers.size(); ++l) {
      const Matrix<uint16_t>& rows = cells.of(kind)[l];
      const size_t skip = shape.layers[l].window > 0 ? cells.absent * rows.cols() : 0;
      const auto begin = rows.flat().begin(), end = rows.flat().end();
      const auto odd = std::find_if_not(begin + static_cast<ptrdiff_t>(skip), end, is_finite_half);
      if (odd == end) continue;
      const auto at = static_cast<size_t>(odd - begin);
      return CellPlace{kind, shape.layers[l].layer, cells.first + at / rows.cols(),
                       at % rows.cols()};
    }
  }
  return {};
}

Result<> check_finite(const Cells& cells, const ModelShape& shape) {
  const auto place = first_not_finite(cells, shape);
  if (!place) return {};
  return Error{ErrorKind::numeric, describe(*place) + " is infinite or not a number"};
}

size_t first_in_sight(const ModelShape& shape, size_t position) {
  return shape.tokens_out_of_sight(position + 1);
}

Result<> check_sight(const Cells& cells, size_t count, const ModelShape& shape) {
  const size_t needed = std::min(first_in_sight(shape, count), count);
  if (cells.absent <= needed) return {};
  return Error{ErrorKind::unsupported,
               fmt::format("layers with a sliding window have no rows of tokens {} ... {}, which "
                           "the next tokens see; only the whole session has what they need",
                           cells.first + needed, cells.first + cells.absent - 1)};
}

Cells make_cells(const ModelShape& shape, size_t first, size_t n) {
  Cells cells;
  cells.first = first;
  cells.tokens.resize(n);
  for (Kind kind : {Kind::key, Kind::value}) {
    for (const LayerShape& l : shape.layers) cells.of(kind).emplace_back(n, l.width(kind));
  }
  return cells;
}

Cells slice(const Cells& cells, size_t from, size_t n) {
  Cells part;
  part.first = cells.first + from;
  part.absent = std::min(n, cells.absent - std::min(cells.absent, from));
  const auto begin = cells.tokens.begin() + static_cast<ptrdiff_t>(from);
  part.tokens.assign(begin, begin + static_cast<ptrdiff_t>(n));
  for (Kind kind : {Kind::key, Kind::value}) {
    for (const auto& rows : cells.of(kind)) {
      part.of(kind).push_back(copy(rows.view().row_range(from, n)));
    }
  }
  return part;
}

void put(Cells& all, size_t at, const Cells& part, size_t from, size_t n) {
  std::copy_n(part.tokens.begin() + static_cast<ptrdiff_t>(from), n,
              all.tokens.begin() + static_cast<ptrdiff_t>(at));
  if (part.absent > from) all.absent = std::max(all.absent, at + std::min(part.absent - from, n));
  for (Kind kind : {Kind::key, Kind::value}) {
    for (size_t l = 0; l < all.of(kind).size(); ++l) {
      Matrix<uint16_t>& to = all.of(kind)[l];
      const Matrix<uint16_t>& rows = part.of(kind)[l];
      std::copy_n(rows.data() + from * rows.cols(), n * rows.cols(), to.data() + at * to.cols());
    }
  }
}

codec::CacheBlock to_cell_block(const Cells& cells, const ModelShape& shape) {
  codec::CacheBlock block;
  block.tokens = cells.tokens;
  block.positions.resize(cells.count());
  std::iota(block.positions.begin(), block.positions.end(), static_cast<int32_t>(cells.first));
  block.keys.resize(shape.layers.size());
  block.values.resize(shape.layers.size());
  parallel_for(shape.layers.size(), [&](size_t l) {
    for (Kind kind : {Kind::key, Kind::value}) {
      const Matrix<uint16_t>& from = cells.of(kind)[l];
      if (cells.absent > 0 && shape.layers[l].window > 0) {
        block.of(kind)[l] = Matrix<float>(0, from.cols());
        continue;
      }
      Matrix<float> rows(from.rows(), from.cols());
      std::transform(from.flat().begin(), from.flat().end(), rows.data(), from_half);
      block.of(kind)[l] = std::move(rows);
    }
  });
  return block;
}

Cells from_cell_block(const codec::CacheBlock& block, const ModelShape& shape) {
  Cells cells;
  cells.first = block.positions.empty() ? 0 : static_cast<size_t>(block.positions[0]);
  cells.tokens = block.tokens;
  cells.keys.resize(shape.layers.size());
  cells.values.resize(shape.layers.size());
  for (size_t l = 0; l < shape.layers.size(); ++l) {
    if (block.keys[l].rows() < block.count()) cells.absent = block.count();
  }
  parallel_for(shape.layers.size(), [&](size_t l) {
    for (Kind kind : {Kind::key, Kind::value}) {
      const Matrix<float>& rows = block.of(kind)[l];
      // Zeros where there are no rows.
      Matrix<uint16_t> to(block.count(), shape.layers[l].width(kind));
      std::transform(rows.flat().begin(), rows.flat().end(), to.data(), to_finite_half);
      cells.of(kind)[l] = std::move(to);
    }
  });
  return cells;
}

codec::CacheBlock to_block(const Cells& cells, const ModelShape& shape) {
  codec::CacheBlock block = to_cell_block(cells, shape);
  parallel_for(shape.layers.size(), [&](size_t l) {
    const LayerShape& layer = shape.layers[l];
    if (layer.rope.rotates() && block.keys[l].rows() > 0) {
      layer.rope.undo(block.keys[l], layer.key_dim, block.positions);
    }
  });
  return block;
}

Cells from_block(codec::CacheBlock block, const ModelShape& shape) {
  parallel_for(shape.layers.size(), [&](size_t l) {
    const LayerShape& layer = shape.layers[l];
    if (layer.rope.rotates() && block.keys[l].rows() > 0) {
      layer.rope.apply(block.keys[l], layer.key_dim, block.positions);
    }
  });
  return from_cell_block(block, shape);
}

}  // namespace kvsplice::session
