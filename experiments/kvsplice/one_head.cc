#include "experiments/kvsplice/one_head.h"

#include <numeric>

namespace kvsplice::experiment {

namespace {

ModelShape shape_of(size_t dim) {
  LayerShape layer;
  layer.kv_heads = 1;
  layer.key_dim = layer.value_dim = int(dim);
  ModelShape shape;
  shape.architecture = shape.model_name = "rows";
  shape.query_heads = 1;
  shape.layers = {layer};
  return shape;
}

class BlockSource : public codec::RowSource {
 public:
  explicit BlockSource(codec::CacheBlock block) : block_(std::move(block)) {}
  std::span<const int32_t> tokens() const override { return block_.tokens; }
  std::span<const int32_t> positions() const override { return block_.positions; }
  Result<Matrix<float>> read(Kind kind, int) const override { return block_.of(kind)[0]; }

 private:
  codec::CacheBlock block_;
};

}  // namespace

codec::CacheBlock block_of(MatrixView<const float> rows) {
  codec::CacheBlock block;
  block.tokens.resize(rows.rows);
  block.positions.resize(rows.rows);
  std::iota(block.positions.begin(), block.positions.end(), 0);
  block.keys.emplace_back(rows.rows, rows.cols);
  block.values.push_back(copy(rows));
  return block;
}

Result<codec::Codec> fit_one_head(const std::string& pipeline, MatrixView<const float> rows,
                                  const Progress& progress) {
  KVS_ASSIGN(const auto text, codec::parse_codec("k: f16; v: " + pipeline));
  KVS_ASSIGN(codec::Codec codec, codec::Codec::create(text, shape_of(rows.cols)));
  KVS_TRY(codec.fit(BlockSource(block_of(rows)), nullptr, progress));
  return codec;
}

}  // namespace kvsplice::experiment
