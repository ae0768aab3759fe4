#include "codec/unit.h"

#include <fmt/format.h>

#include <algorithm>

#include "codec/checks.h"
#include "core/errors.h"
#include "core/half.h"
#include "core/limits.h"

namespace kvsplice::codec {

size_t Unit::width() const {
  size_t sum = 0;
  for (int d : head_dims) sum += static_cast<size_t>(d);
  return sum;
}

std::string name_of(const Unit& unit) {
  return unit.layer < 0 ? fmt::format("all layers' {}s", name(unit.kind))
                        : fmt::format("layer {} {}s", unit.layer, name(unit.kind));
}

namespace {

Unit layer_unit(const ModelShape& shape, Kind kind, size_t layer) {
  const LayerShape& l = shape.layers[layer];
  Unit unit{kind,
            static_cast<int>(layer),
            std::vector<int>(static_cast<size_t>(l.kv_heads), l.heads_dim(kind)),
            {}};
  if (kind == Kind::key) unit.rope = l.rope;
  return unit;
}

Unit joined_unit(const ModelShape& shape, Kind kind) {
  Unit all{kind, -1, {}, {}};
  for (size_t l = 0; l < shape.layers.size(); ++l) {
    const Unit one = layer_unit(shape, kind, l);
    if (one.width() == 0) continue;
    all.head_dims.insert(all.head_dims.end(), one.head_dims.begin(), one.head_dims.end());
  }
  return all;
}

void round_to_halves(Matrix<float>& rows) {
  for (float& x : rows.flat()) x = from_half(to_half(x));
}

Result<Matrix<float>> gather_layer(const KvView& block, Kind kind, size_t layer,
                                   const ModelShape& shape, bool cells) {
  const RowsView& from = block.of(kind)[layer];
  Matrix<float> rows(from.rows, from.cols);
  read_rows(from, rows);
  KVS_TRY(check_finite(rows, fmt::format("layer {} {}s", layer, name(kind))));
  if (kind == Kind::key) {
    turn_keys(rows, shape.layers[layer], block.positions, block.space,
              cells ? Space::cached : Space::raw);
  }
  if (cells) round_to_halves(rows);
  return rows;
}

}  // namespace

Result<std::vector<Unit>> units_of(const Pipeline& key, const Pipeline& value,
                                   const ModelShape& shape) {
  const size_t stages = shape.layers.size() * (key.size() + value.size());
  if (stages > limits::kStagesOfUnits) {
    return Error{ErrorKind::usage,
                 fmt::format("{} stages for the keys and values of {} layers; at most {}", stages,
                             shape.layers.size(), limits::kStagesOfUnits)};
  }
  const bool joins = key.traits.joins_layers || value.traits.joins_layers;
  if (std::max(key.traits.history, value.traits.history) > 0 && joins) {
    return Error{ErrorKind::usage,
                 "a stage that predicts from other layers cannot stand beside one that joins them"};
  }
  if (key.traits.cells != value.traits.cells || (key.traits.cells && joins)) {
    return Error{ErrorKind::usage,
                 "a stage of cells is needed for both keys and values, and for single layers"};
  }
  const auto joined = [&](Kind kind) {
    return (kind == Kind::key ? key : value).traits.joins_layers;
  };
  std::vector<Unit> units;
  for (Kind kind : {Kind::key, Kind::value}) {
    if (!joined(kind)) continue;
    Unit all = joined_unit(shape, kind);
    if (all.width() > 0) units.push_back(std::move(all));
  }
  for (size_t l = 0; l < shape.layers.size(); ++l) {
    for (Kind kind : {Kind::key, Kind::value}) {
      if (joined(kind) || shape.layers[l].width(kind) == 0) continue;
      units.push_back(layer_unit(shape, kind, l));
    }
  }
  return units;
}

Result<Matrix<float>> side_by_side(const Unit& unit, const ModelShape& shape, size_t rows,
                                   const std::function<Result<Matrix<float>>(size_t layer)>& read) {
  if (unit.layer >= 0) return read(static_cast<size_t>(unit.layer));
  Matrix<float> joined(rows, unit.width());
  size_t at = 0;
  for (size_t l = 0; l < shape.layers.size(); ++l) {
    KVS_ASSIGN(const Matrix<float> one, read(l));
    for (size_t r = 0; r < one.rows(); ++r) {
      std::copy_n(one.row(r).begin(), one.cols(),
                  joined.row(r).begin() + static_cast<ptrdiff_t>(at));
    }
    at += one.cols();
  }
  return joined;
}

Result<Matrix<float>> gather(const KvView& block, const Unit& unit, const ModelShape& shape,
                             bool cells) {
  return side_by_side(unit, shape, block.count(), [&](size_t layer) {
    return gather_layer(block, unit.kind, layer, shape, cells);
  });
}

Result<> for_layers(const Unit& unit, const ModelShape& shape, MatrixView<const float> rows,
                    const std::function<Result<>(size_t layer, MatrixView<const float>)>& body) {
  if (unit.layer >= 0) return body(static_cast<size_t>(unit.layer), rows);
  size_t at = 0;
  for (size_t l = 0; l < shape.layers.size(); ++l) {
    const auto width = static_cast<size_t>(shape.layers[l].width(unit.kind));
    KVS_TRY(body(l, rows.col_range(at, width)));
    at += width;
  }
  return {};
}

KvBlock<float> empty_block(const ModelShape& shape, std::span<const int32_t> tokens,
                           std::span<const int32_t> positions, Space space) {
  KvBlock<float> block;
  block.tokens.assign(tokens.begin(), tokens.end());
  block.positions.assign(positions.begin(), positions.end());
  block.space = space;
  for (const LayerShape& layer : shape.layers) {
    block.keys.emplace_back(0, static_cast<size_t>(layer.width(Kind::key)));
    // Rows of no values are all there.
    const auto width = static_cast<size_t>(layer.width(Kind::value));
    block.values.emplace_back(width == 0 ? tokens.size() : 0, width);
  }
  return block;
}

KvSink rows_into(KvBlock<float>& block) {
  return [&block](Kind kind, size_t layer, MatrixView<const float> rows) -> Result<> {
    block.of(kind)[layer] = copy(rows);
    return {};
  };
}

void to_cells(Matrix<float>& rows, const Unit& unit, std::span<const int32_t> positions) {
  if (rows.rows() > 0 && unit.rope.rotates()) {
    unit.rope.apply(rows, unit.head_dims[0], positions);
  }
  round_to_halves(rows);
}

Result<> check_finite(const Matrix<float>& rows, const std::string& where) {
  const auto finite = check_finite(rows);
  return finite.ok() ? finite : Result<>(within(where, finite.error()));
}

Result<> check_shape(const KvView& block, const ModelShape& shape) {
  const size_t n = block.count(), layers = shape.layers.size();
  if (block.positions.size() != n || block.keys.size() != layers || block.values.size() != layers) {
    return Error{
        ErrorKind::usage,
        fmt::format("block of {} tokens, {} positions, {} key and {} value layers; the "
                    "model has {} layers",
                    n, block.positions.size(), block.keys.size(), block.values.size(), layers)};
  }
  if (block.absent != 0 && block.absent != n) {
    return Error{ErrorKind::usage,
                 fmt::format("{} of {} tokens have no rows in layers with a window; a block has "
                             "those of all its tokens or of none",
                             block.absent, n)};
  }
  for (Kind kind : {Kind::key, Kind::value}) {
    for (size_t l = 0; l < layers; ++l) {
      const RowsView& rows = block.of(kind)[l];
      const auto width = static_cast<size_t>(shape.layers[l].width(kind));
      const bool none = lacks_windows(block) && shape.layers[l].window > 0 && rows.rows == 0;
      if ((rows.rows == n || none) && rows.cols == width) continue;
      return Error{ErrorKind::usage, fmt::format("layer {} {}s are {} x {}, wanted {} x {}", l,
                                                 name(kind), rows.rows, rows.cols, n, width)};
    }
  }
  return {};
}

}  // namespace kvsplice::codec
