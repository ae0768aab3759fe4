#include "evaluate/dump_attention.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "fit/dump_source.h"

namespace kvsplice::evaluate {

Matrix<float> picked_rows(const Matrix<float>& all, std::span<const size_t> at) {
  Matrix<float> out(at.size(), all.cols());
  for (size_t i = 0; i < at.size(); ++i) {
    std::copy(all.row(at[i]).begin(), all.row(at[i]).end(), out.row(i).begin());
  }
  return out;
}

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
  const analyse::AttentionShape shape = codec::attention_shape(info, index);
  const auto rows = [&](host::Signal signal) {
    return dump.read(signal, index, text.first, text.tokens);
  };
  KVS_ASSIGN(const Matrix<float> all_queries, dump.read_queries(index, text.first, text.tokens));
  KVS_ASSIGN(Matrix<float> exact_keys, rows(host::Signal::key_before_rope));
  KVS_ASSIGN(const Matrix<float> exact_values, rows(host::Signal::value));
  const Matrix<float> queries = picked_rows(all_queries, at);
  const auto positions = dump.positions().subspan(text.first, text.tokens);
  Matrix<float> decoded_keys = copy(keys);
  whole.rope.apply(exact_keys, whole.key_dim, positions);
  whole.rope.apply(decoded_keys, whole.key_dim, positions);
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
