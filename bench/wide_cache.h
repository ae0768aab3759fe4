// Caches of models that are too wide to run here: made-up rows of a real model's shape, with what
// codecs live on. Each token has a hidden state that passes the layers and changes a little in
// each: it begins as what the token is, and takes in what stands before it. Keys and values are two
// views of it, so layers resemble those below, rows of like tokens each other, and a part of every
// row is in no other.
#pragma once

#include "core/kv_block.h"
#include "fit/row_source.h"

namespace kvsplice::bench {

// Of a published model; `layers` of its `all_layers` are made, for time's sake.
struct WideModel {
  const char* name;
  int layers, all_layers, kv_heads, head_dim, query_heads, embedding_dim;
};

ModelShape shape_of(const WideModel& model);

// Embeddings of a small vocabulary, and rows of texts made of it. All follow from seeds.
class WideCache {
 public:
  explicit WideCache(const WideModel& model);
  codec::Embeddings embeddings() const;
  KvBlock<float> rows(size_t tokens, uint64_t text_seed) const;  // keys before rotary embedding

 private:
  ModelShape shape_;
  Matrix<float> meanings_;    // [vocabulary x hidden]
  Matrix<float> embeddings_;  // [vocabulary x embedding_dim]
};

// The rows as calibration rows, with attention and information made up as well.
class WideRows : public codec::RowSource {
 public:
  WideRows(KvBlock<float> rows, const ModelShape& shape) : rows_(std::move(rows)), shape_(shape) {}
  std::span<const int32_t> tokens() const override { return rows_.tokens; }
  std::span<const int32_t> positions() const override { return rows_.positions; }
  Result<Matrix<float>> read(Kind kind, int layer) const override;
  Result<codec::Attention> read_attention(int layer) const override;
  Result<codec::Information> read_information(Kind kind, int layer) const override;

 private:
  KvBlock<float> rows_;
  ModelShape shape_;
};

}  // namespace kvsplice::bench
