#include "evaluate/dump_attention.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "analyse/attention.h"
#include "codec/dump_source.h"

namespace kvsplice::evaluate {

namespace {

// Queries at some rows, of the query heads that belong to the dumped KV heads.
Matrix<float> picked_queries(MatrixView<const float> all, std::span<const size_t> at,
                             std::span<const int> kv_heads, size_t head_width) {
  Matrix<float> out(at.size(), kv_heads.size() * head_width);
  for (size_t i = 0; i < at.size(); ++i) {
    for (size_t h = 0; h < kv_heads.size(); ++h) {
      std::copy_n(all.row(at[i]).begin() + kv_heads[h] * head_width, head_width,
                  out.row(i).begin() + h * head_width);
    }
  }
  return out;
}

}  // namespace

std::vector<size_t> query_positions(size_t tokens, size_t n) {
  std::vector<size_t> at;
  n = std::min(n, tokens);
  for (size_t i = 1; i <= n; ++i) at.push_back(i * tokens / n - 1);
  return at;
}

Result<> add_attention_errors(const extract::Dump& dump, size_t layer, const TextRange& text,
                              std::span<const size_t> at, MatrixView<const float> keys,
                              MatrixView<const float> values, AttentionQuality& quality) {
  const auto& info = dump.info();
  const int index = info.layers[layer];
  const LayerShape& whole = info.shape.layers[index];
  const LayerShape dumped = codec::dumped_shape(info).layers[layer];
  const analyse::AttentionShape shape{
      size_t(dumped.kv_heads), size_t(info.shape.query_heads / whole.kv_heads),
      size_t(dumped.key_dim), size_t(dumped.value_dim), size_t(dumped.window)};
  const auto rows = [&](host::Signal signal) {
    return dump.read(signal, index, text.first, text.tokens);
  };
  KVS_ASSIGN(const Matrix<float> all_queries, rows(host::Signal::query));
  KVS_ASSIGN(Matrix<float> exact_keys, rows(host::Signal::key_before_rope));
  KVS_ASSIGN(const Matrix<float> exact_values, rows(host::Signal::value));
  const auto heads = std::span(info.heads).first(shape.kv_heads);
  const auto queries =
      picked_queries(all_queries, at, heads, shape.queries_per_head * shape.key_dim);

  const auto positions = dump.positions().subspan(text.first, text.tokens);
  Matrix<float> decoded_keys = copy(keys);
  dumped.rope.apply(exact_keys, dumped.key_dim, positions);
  dumped.rope.apply(decoded_keys, dumped.key_dim, positions);
  const auto exact = analyse::attend(queries, at, exact_keys, exact_values, shape);
  quality.key.add(exact, analyse::attend(queries, at, decoded_keys, exact_values, shape));
  quality.value.add(exact, analyse::attend(queries, at, exact_keys, values, shape));
  quality.both.add(exact, analyse::attend(queries, at, decoded_keys, values, shape));
  if (!std::isfinite(quality.both.error)) {  // finite rows, but scores beyond float
    return Error{
        ErrorKind::numeric,
        fmt::format("layer {}: attention over the decoded cache is not finite", whole.layer)};
  }
  return {};
}

}  // namespace kvsplice::evaluate
