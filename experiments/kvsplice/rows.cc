#include "experiments/kvsplice/rows.h"

#include <numeric>

#include "fit/block_rows.h"
#include "fit/fit_codec.h"

namespace kvsplice::experiment {

namespace {

ModelShape shape_of(size_t heads, size_t head_dim) {
  LayerShape layer;
  layer.kv_heads = int(heads);
  layer.key_dim = layer.value_dim = int(head_dim);
  ModelShape shape;
  shape.architecture = shape.model_name = "rows";
  shape.query_heads = int(heads);
  shape.layers = {layer};
  return shape;
}

}  // namespace

KvBlock<float> block_of(MatrixView<const float> rows) {
  KvBlock<float> block;
  block.tokens.resize(rows.rows);
  block.positions.resize(rows.rows);
  std::iota(block.positions.begin(), block.positions.end(), 0);
  block.keys.emplace_back(rows.rows, rows.cols);
  block.values.push_back(copy(rows));
  return block;
}

Result<codec::Codec> fit_rows(const std::string& pipeline, MatrixView<const float> rows,
                              size_t heads) {
  KVS_ASSIGN(const auto text, codec::parse_codec("k: f16; v: " + pipeline));
  return codec::fit_codec(text, shape_of(heads, rows.cols / heads),
                          codec::BlockRows(block_of(rows)), nullptr, {});
}

Result<CodedRows> code_rows(const std::string& pipeline, MatrixView<const float> train,
                            MatrixView<const float> test, size_t heads) {
  KVS_ASSIGN(const auto fitted, fit_rows(pipeline, train, heads));
  const KvBlock<float> block = block_of(test);
  KVS_ASSIGN(const Bytes bytes, fitted.encode(block, nullptr));
  KVS_ASSIGN(const auto payloads, fitted.payloads(bytes));
  KVS_ASSIGN(KvBlock<float> back, fitted.decode(bytes, block.tokens, block.positions, nullptr));
  return CodedRows{std::move(back.values[0]), double(payloads.back().size()) / double(test.rows)};
}

}  // namespace kvsplice::experiment
