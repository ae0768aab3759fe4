#include "codec/block_rows.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "core/half.h"

namespace kvsplice::codec {

namespace {

// Copies `one` into the columns of `joined` that start at `at`.
void put_columns(const Matrix<float>& one, Matrix<float>& joined, size_t at) {
  for (size_t r = 0; r < one.rows(); ++r) {
    std::copy_n(one.row(r).begin(), one.cols(), joined.row(r).begin() + at);
  }
}

// The `depth` nearest layers below that are in every block this layer is in.
std::vector<int> layers_below(int layer, int depth, const ModelShape& shape) {
  std::vector<int> below;
  const bool slides = shape.layers[layer].window > 0;
  for (int l = layer - 1; l >= 0 && static_cast<int>(below.size()) < depth; --l) {
    if (slides || shape.layers[l].window == 0) below.push_back(l);
  }
  return below;
}

}  // namespace

Matrix<float> gather(const CacheBlock& block, const Unit& unit) {
  const auto& layers = block.of(unit.kind);
  if (unit.layer >= 0) return layers[unit.layer];
  Matrix<float> joined(block.count(), unit.width());
  size_t at = 0;
  for (const auto& one : layers) {
    put_columns(one, joined, at);
    at += one.cols();
  }
  return joined;
}

void scatter_to(Matrix<float> rows, const Unit& unit, const ModelShape& shape, CacheBlock& block) {
  auto& layers = block.of(unit.kind);
  if (unit.layer >= 0) {
    layers[unit.layer] = std::move(rows);
    return;
  }
  size_t at = 0;
  for (size_t l = 0; l < layers.size(); ++l) {
    const size_t width = shape.layers[l].width(unit.kind);
    layers[l] = copy(MatrixView<const float>(rows.view()).col_range(at, width));
    at += width;
  }
}

Result<> check_finite(const Matrix<float>& rows, const std::string& where) {
  for (size_t i = 0; i < rows.size(); ++i) {
    if (!std::isfinite(rows.flat()[i])) {
      return Error{ErrorKind::numeric,
                   fmt::format("{}: value {} at row {}, column {}; only finite values can be coded",
                               where, rows.flat()[i], i / rows.cols(), i % rows.cols())};
    }
  }
  return {};
}

void turn_to_cells(Matrix<float>& rows, const Unit& unit, std::span<const int32_t> positions) {
  if (rows.rows() > 0 && unit.rope.rotates()) {
    unit.rope.apply(rows, unit.head_dims[0], positions);
  }
  for (float& x : rows.flat()) x = from_half(to_half(x));
}

bool lacks_windows(const CacheBlock& block, const ModelShape& shape) {
  for (size_t l = 0; l < std::min(block.keys.size(), shape.layers.size()); ++l) {
    if (shape.layers[l].window > 0) return block.count() > 0 && block.keys[l].rows() == 0;
  }
  return false;
}

Result<> check_block(const CacheBlock& block, const ModelShape& shape) {
  const size_t n = block.count();
  const bool lacking = lacks_windows(block, shape);
  if (block.positions.size() != n || block.keys.size() != shape.layers.size() ||
      block.values.size() != shape.layers.size()) {
    return Error{ErrorKind::usage,
                 fmt::format("block of {} tokens, {} positions, {} key and {} value layers; the "
                             "model has {} layers",
                             n, block.positions.size(), block.keys.size(), block.values.size(),
                             shape.layers.size())};
  }
  for (Kind kind : {Kind::key, Kind::value}) {
    for (size_t l = 0; l < shape.layers.size(); ++l) {
      const Matrix<float>& m = block.of(kind)[l];
      const size_t width = shape.layers[l].width(kind);
      const size_t wanted = lacking && shape.layers[l].window > 0 ? 0 : n;
      if (m.rows() != wanted || m.cols() != width) {
        return Error{ErrorKind::usage, fmt::format("layer {} {}s are {} x {}, wanted {} x {}", l,
                                                   name(kind), m.rows(), m.cols(), wanted, width)};
      }
      KVS_TRY(check_finite(m, fmt::format("layer {} {}s", l, name(kind))));
    }
  }
  return {};
}

std::vector<Reconstruction> history_of(const Unit& unit, int depth, const ModelShape& shape,
                                       const CacheBlock& made) {
  std::vector<Reconstruction> history;
  if (depth == 0) return history;
  if (unit.kind == Kind::value) {
    history.push_back({Kind::key, unit.layer, made.keys[unit.layer]});
  }
  for (int l : layers_below(unit.layer, depth, shape)) {
    history.push_back({Kind::key, l, made.keys[l]});
    history.push_back({Kind::value, l, made.values[l]});
  }
  return history;
}

void drop_unread(int layer, int depth, const ModelShape& shape, CacheBlock& made) {
  std::vector<bool> read(shape.layers.size());
  for (size_t l = static_cast<size_t>(layer) + 1; l < shape.layers.size(); ++l) {
    for (int below : layers_below(static_cast<int>(l), depth, shape)) read[below] = true;
  }
  for (int l = 0; l <= layer; ++l) {
    if (read[l]) continue;
    made.keys[l] = {};  // one by one: to be copied from an empty matrix would keep the memory
    made.values[l] = {};
  }
}

CacheBlock empty_block(const ModelShape& shape, std::span<const int32_t> tokens,
                       std::span<const int32_t> positions) {
  CacheBlock block;
  block.tokens.assign(tokens.begin(), tokens.end());
  block.positions.assign(positions.begin(), positions.end());
  block.keys.resize(shape.layers.size());
  block.values.resize(shape.layers.size());
  return block;
}

Result<Matrix<float>> read_unit(const RowSource& source, const Unit& unit,
                                const ModelShape& shape) {
  if (unit.layer >= 0) return source.read(unit.kind, unit.layer);
  Matrix<float> joined(source.tokens().size(), unit.width());
  size_t at = 0;
  for (size_t l = 0; l < shape.layers.size(); ++l) {
    KVS_ASSIGN(const Matrix<float> one, source.read(unit.kind, static_cast<int>(l)));
    put_columns(one, joined, at);
    at += one.cols();
  }
  return joined;
}

}  // namespace kvsplice::codec
