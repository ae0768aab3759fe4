#include "codec/cache_io.h"

#include <numeric>

#include "core/threads.h"

namespace kvsplice::codec {

Embeddings embeddings_of(const host::Model& model) {
  return {model.shape().embedding_dim,
          [&model](std::span<const int32_t> tokens, MatrixView<float> out) {
            return model.normalised_embeddings(tokens, out);
          }};
}

Result<CacheBlock> read_block(const host::Context& context, const ModelShape& shape,
                              std::span<const int32_t> tokens, size_t first, size_t n) {
  CacheBlock block;
  block.tokens.assign(tokens.begin() + first, tokens.begin() + first + n);
  block.positions.resize(n);
  std::iota(block.positions.begin(), block.positions.end(), static_cast<int32_t>(first));
  for (Kind kind : {Kind::key, Kind::value}) {
    for (size_t l = 0; l < shape.layers.size(); ++l) {
      Matrix<float> rows(n, shape.layers[l].width(kind));
      KVS_TRY(context.read_cache(kind, static_cast<int>(l), first, rows));
      block.of(kind).push_back(std::move(rows));
    }
  }
  parallel_for(shape.layers.size(), [&](size_t l) {
    const LayerShape& layer = shape.layers[l];
    if (layer.rope.rotates()) layer.rope.undo(block.keys[l], layer.key_dim, block.positions);
  });
  return block;
}

Result<> write_block(host::Context& context, const ModelShape& shape, CacheBlock block) {
  if (block.count() == 0) return {};
  parallel_for(shape.layers.size(), [&](size_t l) {
    const LayerShape& layer = shape.layers[l];
    if (layer.rope.rotates()) layer.rope.apply(block.keys[l], layer.key_dim, block.positions);
  });
  const size_t first = static_cast<size_t>(block.positions.front());
  for (Kind kind : {Kind::key, Kind::value}) {
    for (size_t l = 0; l < shape.layers.size(); ++l) {
      KVS_TRY(context.write_cache(kind, static_cast<int>(l), first, block.of(kind)[l]));
    }
  }
  return {};
}

}  // namespace kvsplice::codec
