#include "fit/dump_source.h"

#include <fmt/format.h>

#include <algorithm>

#include "core/same_cache.h"

namespace kvsplice::codec {

ModelShape dumped_shape(const extract::DumpInfo& info) {
  ModelShape shape = info.shape;
  shape.layers.clear();
  std::vector<int> queries;
  for (int layer : info.layers) {
    LayerShape one = info.shape.layers[layer];
    const int per_head = info.shape.query_heads_of(layer) / one.kv_heads;
    one.kv_heads = static_cast<int>(info.heads_of(layer).size());
    queries.push_back(per_head * one.kv_heads);
    shape.layers.push_back(one);
  }
  shape.query_heads = *std::max_element(queries.begin(), queries.end());
  const bool alike = std::count(queries.begin(), queries.end(), queries[0]) == std::ssize(queries);
  shape.query_heads_by_layer = alike ? std::vector<int>() : queries;
  return shape;
}

analyse::AttentionShape attention_shape(const extract::DumpInfo& info, int layer) {
  const LayerShape& whole = info.shape.layers[layer];
  const size_t heads = info.heads_of(layer).size();
  return {heads,
          info.readers_of(layer).size() / heads,
          size_t(whole.key_dim),
          size_t(whole.value_dim),
          size_t(whole.window),
          whole.chunked,
          info.scoring_of(layer)};
}

Result<DumpSource> DumpSource::open(const std::vector<std::string>& paths, size_t sinks,
                                    const std::function<bool(size_t text)>& use) {
  DumpSource source;
  size_t number = 0;
  for (const std::string& path : paths) {
    KVS_ASSIGN(extract::Dump dump, extract::Dump::open(path));
    const ModelShape shape = dumped_shape(dump.info());
    if (source.dumps_.empty()) {
      source.shape_ = shape;
    } else {
      KVS_TRY(same_cache(paths[0] + " is of", source.shape_, path, shape));
    }
    size_t at = 0;
    for (const auto& text : dump.info().texts) {
      const bool used = !use || use(number++);
      const size_t skip = used ? std::min(sinks, text.tokens) : text.tokens;
      source.parts_.push_back({source.dumps_.size(), at + skip, text.tokens - skip});
      for (size_t i = at + skip; i < at + text.tokens; ++i) {
        source.tokens_.push_back(dump.tokens()[i]);
        source.positions_.push_back(dump.positions()[i]);
      }
      at += text.tokens;
    }
    source.dumps_.push_back(std::move(dump));
  }
  return source;
}

Result<Matrix<float>> DumpSource::read(Kind kind, int layer) const {
  Matrix<float> all(tokens_.size(), shape_.layers[layer].width(kind));
  size_t row = 0;
  for (const Part& part : parts_) {
    const auto& dump = dumps_[part.dump];
    const auto signal = kind == Kind::key ? host::Signal::key_before_rope : host::Signal::value;
    KVS_ASSIGN(const Matrix<float> rows,
               dump.read(signal, dump.info().layers[layer], part.first, part.count));
    std::copy(rows.flat().begin(), rows.flat().end(), all.row(row).begin());
    row += part.count;
  }
  return all;
}

namespace {

// By the tokens of the text that starts at `first`.
Result<Matrix<float>> received_in(const extract::Dump& dump, int layer, size_t first,
                                  size_t count) {
  const LayerShape& shape = dump.info().shape.layers[layer];
  KVS_ASSIGN(const Matrix<float> queries, dump.read_queries(layer, first, count));
  KVS_ASSIGN(Matrix<float> keys, dump.read(host::Signal::key_before_rope, layer, first, count));
  shape.rope.apply(keys, shape.key_dim, dump.positions().subspan(first, count));
  return analyse::attention_received(queries, keys, attention_shape(dump.info(), layer));
}

}  // namespace

Result<Attention> DumpSource::read_attention(int layer) const {
  Attention all;
  std::vector<float> received;
  size_t row = 0;
  for (const Part& part : parts_) {
    const auto& dump = dumps_[part.dump];
    if (part.count > 0 && dump.has(host::Signal::query)) {
      const auto sinks = size_t(dump.positions()[part.first]);
      KVS_ASSIGN(const Matrix<float> of_text, received_in(dump, dump.info().layers[layer],
                                                          part.first - sinks, part.count + sinks));
      for (size_t t = sinks; t < of_text.rows(); ++t) {
        all.rows.push_back(row + t - sinks);
        received.insert(received.end(), of_text.row(t).begin(), of_text.row(t).end());
      }
    }
    row += part.count;
  }
  if (all.rows.empty()) {
    return Error{
        ErrorKind::usage,
        fmt::format("no text of {} comes with queries and is longer than {} tokens; "
                    "extract without --no-queries",
                    dumps_.empty() ? "the dumps" : dumps_.front().path(), analyse::kFewestQueries)};
  }
  all.received = Matrix<float>(all.rows.size(), received.size() / all.rows.size());
  std::copy(received.begin(), received.end(), all.received.data());
  return all;
}

}  // namespace kvsplice::codec
