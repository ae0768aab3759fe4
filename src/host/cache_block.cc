#include "host/cache_block.h"

#include <algorithm>

#include "core/threads.h"

namespace kvsplice::host {

namespace {

void turn_all_keys(KvBlock<float>& block, const ModelShape& shape, Space to) {
  parallel_for(shape.layers.size(), [&](size_t l) {
    turn_keys(block.keys[l], shape.layers[l], block.positions, block.space, to);
  });
  block.space = to;
}

}  // namespace

codec::Embeddings embeddings_of(const Model& model) {
  return {model.shape().embedding_dim,
          [&model](std::span<const int32_t> tokens, MatrixView<float> out) {
            return model.normalised_embeddings(tokens, out);
          }};
}

Result<KvBlock<float>> read_block(const Context& context, const ModelShape& shape,
                                  std::span<const int32_t> tokens, size_t first, size_t n) {
  KvBlock<float> block(shape, Space::cached, first, n);
  std::copy_n(tokens.begin() + static_cast<ptrdiff_t>(first), n, block.tokens.begin());
  for (Kind kind : {Kind::key, Kind::value}) {
    for (size_t l = 0; l < shape.layers.size(); ++l) {
      KVS_TRY(context.read_cache(kind, static_cast<int>(l), first, block.of(kind)[l]));
    }
  }
  turn_all_keys(block, shape, Space::raw);
  return block;
}

Result<> write_block(Context& context, const ModelShape& shape, KvBlock<float> block) {
  if (block.count() == 0) return {};
  turn_all_keys(block, shape, Space::cached);
  const size_t first = static_cast<size_t>(block.positions.front());
  for (Kind kind : {Kind::key, Kind::value}) {
    for (size_t l = 0; l < shape.layers.size(); ++l) {
      KVS_TRY(context.write_cache(kind, static_cast<int>(l), first, block.of(kind)[l]));
    }
  }
  return {};
}

}  // namespace kvsplice::host
