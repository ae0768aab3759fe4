// Causal attention of queries over one layer's cache: softmax(q . k / sqrt(key_dim)) v, or what
// Scoring makes of it.
#pragma once

#include <cstddef>
#include <span>

#include "core/matrix.h"
#include "core/shape.h"

namespace kvsplice::analyse {

struct AttentionShape {
  size_t kv_heads = 0;
  size_t queries_per_head = 0;  // query heads that share one key and value head, side by side
  size_t key_dim = 0, value_dim = 0;
  size_t window = 0;     // a query sees this many tokens up to its own; 0 = all
  bool chunked = false;  // or those from the last multiple of `window` on
  Scoring scoring = {};

  size_t query_heads() const { return kv_heads * queries_per_head; }
  size_t first_seen(size_t at) const { return kvsplice::first_seen(at, window, chunked); }
  size_t end_of_sight(size_t t, size_t end) const;  // of `end` queries, behind the last that sees t
};

// queries: [m x query_heads * key_dim], row i stands at token `at[i]` (ascending) and sees the keys
// and values of tokens up to its own. keys: [n x kv_heads * key_dim], values: [n x kv_heads *
// value_dim], all after rotary embedding. Result: [m x query_heads * value_dim].
Matrix<float> attend(MatrixView<const float> queries, std::span<const size_t> at,
                     MatrixView<const float> keys, MatrixView<const float> values,
                     const AttentionShape& shape);

// How much attention tokens get from later ones: for every KV head the logarithm of the mean, over
// the queries that stand kNear to `window` tokens behind, of (weight * tokens seen)^2 summed over
// the query heads. So 0 is about what a token gets where all get the same. queries and keys: rows
// of the same n tokens. Result: [n - kFewestQueries x kv_heads], without the last tokens, which few
// queries see; empty if there are no more.
constexpr size_t kNear = 16, kFewestQueries = 64;
Matrix<float> attention_received(MatrixView<const float> queries, MatrixView<const float> keys,
                                 const AttentionShape& shape);

}  // namespace kvsplice::analyse
