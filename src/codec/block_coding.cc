#include "codec/block_coding.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>

namespace kvsplice::codec {

namespace {

// The `depth` nearest layers below that are in every block this layer is in.
std::vector<int> layers_below(int layer, int depth, const ModelShape& shape) {
  std::vector<int> below;
  const bool slides = shape.layers[static_cast<size_t>(layer)].window > 0;
  for (int l = layer - 1; l >= 0 && static_cast<int>(below.size()) < depth; --l) {
    if (slides || shape.layers[static_cast<size_t>(l)].window == 0) below.push_back(l);
  }
  return below;
}

}  // namespace

Result<BlockCoding> BlockCoding::begin(const ModelShape& shape, const StageInfo::Traits& traits,
                                       std::span<const int32_t> tokens,
                                       std::span<const int32_t> positions,
                                       const Embeddings* embeddings) {
  BlockCoding coding(shape, traits.history);
  coding.tokens_ = tokens;
  coding.positions_ = positions;
  coding.keys_.resize(shape.layers.size());
  coding.values_.resize(shape.layers.size());
  if (!traits.embeddings) return coding;
  if (embeddings == nullptr) {
    return Error{ErrorKind::usage, "this codec reads token embeddings: name the model (-m)"};
  }
  coding.embedded_ = Matrix<float>(tokens.size(), static_cast<size_t>(embeddings->dim));
  KVS_TRY(embeddings->lookup(tokens, coding.embedded_));
  return coding;
}

Result<> BlockCoding::project(const EmbeddingBasis& basis) {
  if (basis.count() == 0) return {};
  if (embedded_.cols() != basis.dim()) {
    return Error{ErrorKind::usage, fmt::format("embeddings of {} values; the codec's have {}",
                                               embedded_.cols(), basis.dim())};
  }
  // Tokens that come again have the same row.
  std::map<int32_t, size_t> row_of;
  for (int32_t token : tokens_) row_of.emplace(token, row_of.size());
  Matrix<float> different(row_of.size(), embedded_.cols());
  for (size_t t = 0; t < tokens_.size(); ++t) {
    std::ranges::copy(embedded_.row(t), different.row(row_of[tokens_[t]]).begin());
  }
  const Matrix<float> projected = basis.project(different);
  directions_ = Matrix<float>(tokens_.size(), projected.cols());
  for (size_t t = 0; t < tokens_.size(); ++t) {
    std::ranges::copy(projected.row(row_of[tokens_[t]]), directions_.row(t).begin());
  }
  return {};
}

CodeContext BlockCoding::context(const UnitCoder& unit) {
  CodeContext context{unit.unit(), tokens_, positions_,
                      history_of(unit.unit(), unit.pipeline().traits.history)};
  context.embedded = embedded_;
  context.directions = directions_;
  context.shape = shape_;
  context.shared = closed_loop() ? &shared_ : nullptr;
  return context;
}

// For values the keys of their layer come first, then keys and values of the layers below, nearest
// first.
std::vector<Reconstruction> BlockCoding::history_of(const Unit& unit, int depth) const {
  std::vector<Reconstruction> history;
  if (depth == 0) return history;
  if (unit.kind == Kind::value) {
    history.push_back({Kind::key, unit.layer, keys_[static_cast<size_t>(unit.layer)]});
  }
  for (int l : layers_below(unit.layer, depth, *shape_)) {
    history.push_back({Kind::key, l, keys_[static_cast<size_t>(l)]});
    history.push_back({Kind::value, l, values_[static_cast<size_t>(l)]});
  }
  return history;
}

void BlockCoding::keep(const Unit& unit, Matrix<float> rows) {
  if (!closed_loop()) return;
  made(unit.kind)[static_cast<size_t>(unit.layer)] = std::move(rows);
  const bool last = shape_->layers[static_cast<size_t>(unit.layer)].value_dim == 0;
  if (unit.kind == Kind::value || last) drop_unread(unit.layer);
}

void BlockCoding::drop_unread(int layer) {
  std::vector<bool> read(shape_->layers.size());
  for (size_t l = static_cast<size_t>(layer) + 1; l < read.size(); ++l) {
    for (int below : layers_below(static_cast<int>(l), depth_, *shape_)) {
      read[static_cast<size_t>(below)] = true;
    }
  }
  for (size_t l = 0; l <= static_cast<size_t>(layer); ++l) {
    if (read[l]) continue;
    keys_[l] = {};
    values_[l] = {};
  }
}

}  // namespace kvsplice::codec
