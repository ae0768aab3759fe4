#include "experiments/kvsplice/caches.h"

#include <fmt/format.h>

#include <algorithm>

#include "evaluate/dump_attention.h"
#include "evaluate/metrics.h"
#include "experiments/lists.h"
#include "fit/dump_source.h"

namespace kvsplice::experiment {

using extract::Dump;
using host::Signal;

namespace {

constexpr size_t kQueries = 64;  // positions whose attention is compared

Result<std::vector<int>> layers_of(const ModelShape& shape, const std::vector<int>& wanted) {
  const int n = int(shape.layers.size());
  if (wanted.empty()) return std::vector<int>{n / 4, 3 * n / 4};
  for (int layer : wanted) {
    if (layer >= n) {
      return Error{ErrorKind::usage,
                   fmt::format("layers = {} is not allowed; legal: 0 ... {}", layer, n - 1)};
    }
  }
  return wanted;
}

Result<Dump> dump_of(const host::Model& model, const std::vector<std::string>& texts,
                     const extract::ExtractOptions& options, const std::filesystem::path& path,
                     const Progress& progress) {
  KVS_TRY(extract::extract(model, texts, options, path.string(), progress));
  return Dump::open(path.string());
}

// The columns of the place's head among `per_head` columns each, or all.
template <class T>
MatrixView<T> columns_of(MatrixView<T> all, const Place& place, size_t per_head) {
  if (place.head == Place::kAllHeads) return all;
  return all.col_range(size_t(place.head) * per_head, per_head);
}

}  // namespace

Result<Caches> Caches::extract(const host::Model& model, const StudyOptions& options,
                               const std::filesystem::path& dir, const Progress& progress) {
  if (model.shape().lacks_values()) {
    return Error{
        ErrorKind::unsupported,
        "the study compares keys and values, and this model takes its values from the keys"};
  }
  KVS_ASSIGN(const auto layers, layers_of(model.shape(), options.layers));
  extract::ExtractOptions extraction;
  extraction.tokens = size_t(options.tokens);
  extraction.queries = false;
  KVS_ASSIGN(Dump train,
             dump_of(model, split(options.text), extraction, dir / "train.gguf", progress));
  extraction.queries = true;
  extraction.layers = layers;
  KVS_ASSIGN(Dump test,
             dump_of(model, split(options.test_text), extraction, dir / "test.gguf", progress));
  return Caches(std::move(train), std::move(test), layers);
}

const LayerShape& Caches::shape(int layer) const {
  return train_.info().shape.layers[size_t(layer)];
}

size_t Caches::heads(int layer) const { return size_t(shape(layer).kv_heads); }

Result<Matrix<float>> Caches::rows(const Dump& dump, const Place& place) const {
  KVS_ASSIGN(const Matrix<float> all, dump.read(place.signal, place.layer));
  const size_t dim = all.cols() / heads(place.layer);
  const auto positions = dump.positions();
  const size_t kept = size_t(std::count_if(positions.begin(), positions.end(),
                                           [](int32_t at) { return at >= int32_t(kSinks); }));
  const MatrixView<const float> columns = columns_of(all.view(), place, dim);
  Matrix<float> out(kept, columns.cols);
  size_t row = 0;
  for (size_t r = 0; r < columns.rows; ++r) {
    if (positions[r] < int32_t(kSinks)) continue;
    std::copy_n(&columns(r, 0), columns.cols, out.row(row++).data());
  }
  return out;
}

Result<Matrix<float>> Caches::train(const Place& place) const { return rows(train_, place); }
Result<Matrix<float>> Caches::test(const Place& place) const { return rows(test_, place); }

namespace {

void put_behind_sinks(MatrixView<const float> decoded, MatrixView<float> columns) {
  for (size_t r = 0; r < decoded.rows; ++r) {
    std::copy_n(&decoded(r, 0), decoded.cols, &columns(Caches::kSinks + r, 0));
  }
}

}  // namespace

// All keys of the layer after rotation, with the decoded ones in their place (none: exact).
Result<Matrix<float>> Caches::keys(const Place& place, MatrixView<const float> decoded) const {
  const LayerShape& layer = shape(place.layer);
  const bool rotate = place.signal != Signal::key;
  KVS_ASSIGN(Matrix<float> keys,
             test_.read(rotate ? Signal::key_before_rope : Signal::key, place.layer));
  put_behind_sinks(decoded, columns_of(keys.view(), place, size_t(layer.key_dim)));
  if (rotate) layer.rope.apply(keys, layer.key_dim, test_.positions());
  return keys;
}

Result<double> Caches::attention_error(const Place& place, MatrixView<const float> decoded) const {
  const LayerShape& layer = shape(place.layer);
  KVS_ASSIGN(const Matrix<float> all_queries, test_.read(Signal::query, place.layer));
  const auto at = evaluate::query_positions(all_queries.rows(), kQueries);
  const Matrix<float> queries = evaluate::picked_rows(all_queries, at);
  KVS_ASSIGN(const Matrix<float> values, test_.read(Signal::value, place.layer));
  const bool is_value = place.signal == Signal::value;
  const MatrixView<const float> none(nullptr, 0, 0);
  KVS_ASSIGN(const Matrix<float> exact_keys, keys(place, none));
  KVS_ASSIGN(const Matrix<float> made_keys, keys(place, is_value ? none : decoded));
  Matrix<float> made_values = values;
  if (is_value) {
    put_behind_sinks(decoded, columns_of(made_values.view(), place, size_t(layer.value_dim)));
  }
  const analyse::AttentionShape reads = codec::attention_shape(test_.info(), place.layer);
  const auto exact = analyse::attend(queries, at, exact_keys, values, reads);
  const auto made = analyse::attend(queries, at, made_keys, made_values, reads);
  // Of a single head: only the outputs of the query heads that read it.
  const size_t outputs = reads.queries_per_head * size_t(layer.value_dim);
  evaluate::ErrorSums sums;
  sums.add(columns_of(exact.view(), place, outputs), columns_of(made.view(), place, outputs));
  return sums.relative_rms();
}

}  // namespace kvsplice::experiment
