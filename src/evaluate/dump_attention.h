// The attention of one text of a dump, exact and with a decoded cache.
#pragma once

#include "evaluate/evaluate.h"

namespace kvsplice::evaluate {

// Rows [first, first + n) of the dump are one text or its beginning.
struct TextRange {
  size_t first = 0;
  size_t tokens = 0;
};

// Evenly spaced, the last token of each stretch, so that late positions are there; at most n.
std::vector<size_t> query_positions(size_t tokens, size_t n);
Matrix<float> picked_rows(const Matrix<float>& all, std::span<const size_t> at);

// Adds the errors of one layer (index into DumpInfo::layers). keys, values: the decoded cache of
// the whole range, keys before rotary embedding.
Result<> add_attention_errors(const extract::Dump& dump, size_t layer, const TextRange& text,
                              std::span<const size_t> at, MatrixView<const float> keys,
                              MatrixView<const float> values, AttentionQuality& quality);

}  // namespace kvsplice::evaluate
