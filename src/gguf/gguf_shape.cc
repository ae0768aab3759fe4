// ModelShape as GGUF metadata. One array per property, one entry per layer; the frequencies of all
// layers stand one after the other. What few models have is left out for the others.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "core/limits.h"
#include "gguf/gguf_file.h"

namespace kvsplice::gguf {

namespace {

const std::string prefix = "kvsplice.model.";

Error damaged(const GgufReader& file, const std::string& what) {
  return {ErrorKind::format,
          fmt::format("{}: the description of the model is damaged: {}", file.path(), what)};
}

// One integer per layer, each in [low, high].
Result<std::vector<int32_t>> per_layer(const GgufReader& file, const std::string& key,
                                       size_t layers, int low, int high) {
  KVS_ASSIGN(std::vector<int32_t> values, file.integers(prefix + key));
  if (values.size() != layers) {
    return damaged(file, fmt::format("{} layers but {} {}", layers, values.size(), key));
  }
  for (int32_t v : values) {
    if (v < low || v > high) {
      return damaged(file, fmt::format("{} {} is not in {} ... {}", key, v, low, high));
    }
  }
  return values;
}

Result<int> bounded(const GgufReader& file, const std::string& key, int low, int high) {
  KVS_ASSIGN(int64_t value, file.integer(prefix + key));
  if (value < low || value > high) {
    return damaged(file, fmt::format("{} {} is not in {} ... {}", key, value, low, high));
  }
  return static_cast<int>(value);
}

Result<> read_ropes(const GgufReader& file, std::vector<LayerShape>& layers) {
  constexpr int most = limits::kHeadDim / 2;
  const size_t n = layers.size();
  KVS_ASSIGN(std::vector<int32_t> halves, per_layer(file, "rope.halves", n, 0, 1));
  KVS_ASSIGN(std::vector<int32_t> pairs, per_layer(file, "rope.pairs", n, 0, most));
  std::vector<int32_t> first(n);
  if (file.has(prefix + "rope.first")) {
    KVS_ASSIGN(first, per_layer(file, "rope.first", n, 0, limits::kHeadDim));
  }
  KVS_ASSIGN(std::vector<float> magnitudes, file.numbers(prefix + "rope.magnitude"));
  KVS_ASSIGN(std::vector<float> frequencies, file.numbers(prefix + "rope.frequency"));
  if (magnitudes.size() != n) return damaged(file, "rope.magnitude must have one entry per layer");
  size_t at = 0;
  for (size_t i = 0; i < n; ++i) {
    Rope& rope = layers[i].rope;
    const auto count = static_cast<size_t>(pairs[i]);
    rope.first = first[i];
    if (first[i] + 2 * pairs[i] > layers[i].key_dim || count > frequencies.size() - at) {
      return damaged(file, fmt::format("layer {} has {} rotated pairs", i, count));
    }
    rope.pairs = halves[i] ? Rope::Pairs::halves : Rope::Pairs::adjacent;
    rope.magnitude = magnitudes[i];
    const auto from = frequencies.begin() + static_cast<ptrdiff_t>(at);
    rope.frequency.assign(from, from + pairs[i]);
    at += count;
    if (!std::isfinite(rope.magnitude) || rope.magnitude <= 0) {
      return damaged(file, fmt::format("layer {} has rope.magnitude {}", i, rope.magnitude));
    }
    for (float f : rope.frequency) {
      if (!std::isfinite(f))
        return damaged(file, fmt::format("layer {} has rope.frequency {}", i, f));
    }
  }
  if (at != frequencies.size()) return damaged(file, "rope.frequency has entries left over");
  return {};
}

Result<> read_chunked(const GgufReader& file, std::vector<LayerShape>& layers) {
  if (!file.has(prefix + "chunked")) return {};
  KVS_ASSIGN(std::vector<int32_t> chunked, per_layer(file, "chunked", layers.size(), 0, 1));
  for (size_t i = 0; i < layers.size(); ++i) {
    layers[i].chunked = chunked[i] != 0;
    if (chunked[i] != 0 && layers[i].window == 0) {
      return damaged(file, fmt::format("layer {} has chunks of 0 tokens", layers[i].layer));
    }
  }
  return {};
}

Result<std::vector<int>> read_empty_layers(const GgufReader& file,
                                           const std::vector<LayerShape>& layers) {
  if (!file.has(prefix + "empty_layers")) return std::vector<int>();
  KVS_ASSIGN(std::vector<int32_t> numbers, file.integers(prefix + "empty_layers"));
  if (numbers.size() > size_t{limits::kLayers}) {
    return damaged(file,
                   fmt::format("{} empty_layers; at most {}", numbers.size(), limits::kLayers));
  }
  for (size_t i = 0; i < numbers.size(); ++i) {
    const bool taken = std::any_of(layers.begin(), layers.end(),
                                   [&](const LayerShape& l) { return l.layer == numbers[i]; });
    if (numbers[i] < 0 || (i > 0 && numbers[i] <= numbers[i - 1]) || taken) {
      return damaged(file, "empty_layers must ascend and be none of the layers");
    }
  }
  return numbers;
}

// Three numbers a layer: which, and its values r and s.
Result<std::vector<RecurrentLayer>> read_recurrent(const GgufReader& file) {
  if (!file.has(prefix + "recurrent")) return std::vector<RecurrentLayer>();
  KVS_ASSIGN(std::vector<int32_t> numbers, file.integers(prefix + "recurrent"));
  if (numbers.size() % 3 != 0 || numbers.size() > size_t{3 * limits::kLayers}) {
    return damaged(file, fmt::format("recurrent has {} numbers; three a layer, at most {} layers",
                                     numbers.size(), limits::kLayers));
  }
  std::vector<RecurrentLayer> layers;
  int before = -1;
  for (auto n = numbers.begin(); n != numbers.end(); n += 3) {
    const int most = std::max(n[1], n[2]), least = std::min(n[1], n[2]);
    if (n[0] <= before || least < 0 || most > limits::kStateValues) {
      return damaged(file, fmt::format("recurrent layer {} of {} and {} values behind layer {}",
                                       n[0], n[1], n[2], before));
    }
    before = n[0];
    layers.push_back({n[0], size_t(n[1]), size_t(n[2])});
  }
  return layers;
}

void write_recurrent(GgufWriter& file, const std::vector<RecurrentLayer>& layers) {
  std::vector<int32_t> numbers;
  for (const RecurrentLayer& l : layers) {
    for (const size_t n : {size_t(l.layer), l.r, l.s}) numbers.push_back(int32_t(n));
  }
  if (!numbers.empty()) file.set(prefix + "recurrent", numbers);
}

Result<std::vector<int>> read_query_heads(const GgufReader& file, const ModelShape& shape) {
  if (!file.has(prefix + "query_heads_by_layer")) return std::vector<int>();
  return per_layer(file, "query_heads_by_layer", shape.layers.size(), 1, shape.query_heads);
}

Result<std::vector<LayerShape>> read_layers(const GgufReader& file) {
  using namespace limits;
  KVS_ASSIGN(std::vector<int32_t> numbers, file.integers(prefix + "layers"));
  const size_t n = numbers.size();
  if (n == 0 || n > size_t{kLayers}) {
    return damaged(file, fmt::format("{} layers are not in 1 ... {}", n, kLayers));
  }
  KVS_ASSIGN(std::vector<int32_t> kv_heads, per_layer(file, "kv_heads", n, 1, kHeads));
  KVS_ASSIGN(std::vector<int32_t> key_dim, per_layer(file, "key_dim", n, 1, kHeadDim));
  KVS_ASSIGN(std::vector<int32_t> value_dim, per_layer(file, "value_dim", n, 0, kHeadDim));
  KVS_ASSIGN(std::vector<int32_t> window, per_layer(file, "window", n, 0, kWindow));
  std::vector<LayerShape> layers(n);
  for (size_t i = 0; i < n; ++i) {
    if (numbers[i] < 0 || (i > 0 && numbers[i] <= numbers[i - 1])) {
      return damaged(file, "layers must ascend");
    }
    layers[i] = {numbers[i], kv_heads[i], key_dim[i], value_dim[i], window[i], {}};
  }
  if (const auto sound = check_widths(layers); !sound.ok()) {
    return damaged(file, sound.error().message);
  }
  return layers;
}

}  // namespace

void write_shape(GgufWriter& file, const ModelShape& shape) {
  file.set(prefix + "architecture", shape.architecture);
  file.set(prefix + "name", shape.model_name);
  file.set(prefix + "fingerprint", shape.fingerprint);
  file.set(prefix + "query_heads", int64_t{shape.query_heads});
  file.set(prefix + "embedding_dim", int64_t{shape.embedding_dim});
  file.set(prefix + "vocabulary", int64_t{shape.vocabulary});

  std::vector<int32_t> layers, kv_heads, key_dim, value_dim, window, chunked, halves, pairs, first;
  std::vector<float> magnitude, frequency;
  for (const LayerShape& l : shape.layers) {
    layers.push_back(l.layer);
    kv_heads.push_back(l.kv_heads);
    key_dim.push_back(l.key_dim);
    value_dim.push_back(l.value_dim);
    window.push_back(l.window);
    chunked.push_back(l.chunked);
    halves.push_back(l.rope.pairs == Rope::Pairs::halves);
    pairs.push_back(static_cast<int32_t>(l.rope.frequency.size()));
    first.push_back(l.rope.first);
    magnitude.push_back(l.rope.magnitude);
    frequency.insert(frequency.end(), l.rope.frequency.begin(), l.rope.frequency.end());
  }
  file.set(prefix + "layers", layers);
  file.set(prefix + "kv_heads", kv_heads);
  file.set(prefix + "key_dim", key_dim);
  file.set(prefix + "value_dim", value_dim);
  file.set(prefix + "window", window);
  if (std::count(chunked.begin(), chunked.end(), 1) > 0) file.set(prefix + "chunked", chunked);
  if (!shape.query_heads_by_layer.empty()) {
    file.set(prefix + "query_heads_by_layer", shape.query_heads_by_layer);
  }
  if (!shape.empty_layers.empty()) file.set(prefix + "empty_layers", shape.empty_layers);
  write_recurrent(file, shape.recurrent);
  if (shape.places) file.set(prefix + "places", true);
  file.set(prefix + "rope.halves", halves);
  file.set(prefix + "rope.pairs", pairs);
  if (std::count(first.begin(), first.end(), 0) != std::ssize(first)) {
    file.set(prefix + "rope.first", first);
  }
  file.set(prefix + "rope.magnitude", magnitude);
  file.set(prefix + "rope.frequency", frequency);
}

Result<ModelShape> read_shape(const GgufReader& file) {
  ModelShape shape;
  KVS_ASSIGN(shape.architecture, file.text(prefix + "architecture"));
  KVS_ASSIGN(shape.model_name, file.text(prefix + "name"));
  KVS_ASSIGN(shape.fingerprint, file.text(prefix + "fingerprint"));
  KVS_ASSIGN(shape.query_heads, bounded(file, "query_heads", 1, limits::kQueryHeads));
  KVS_ASSIGN(shape.embedding_dim, bounded(file, "embedding_dim", 0, limits::kEmbedding));
  KVS_ASSIGN(shape.vocabulary, bounded(file, "vocabulary", 0, limits::kVocabulary));
  KVS_ASSIGN(shape.layers, read_layers(file));
  KVS_ASSIGN(shape.query_heads_by_layer, read_query_heads(file, shape));
  if (const auto even = check_query_heads(shape); !even.ok()) {
    return damaged(file, even.error().message);
  }
  KVS_TRY(read_chunked(file, shape.layers));
  KVS_TRY(read_ropes(file, shape.layers));
  KVS_ASSIGN(shape.empty_layers, read_empty_layers(file, shape.layers));
  KVS_ASSIGN(shape.recurrent, read_recurrent(file));
  if (file.has(prefix + "places")) {
    KVS_ASSIGN(shape.places, file.flag(prefix + "places"));
  }
  return shape;
}

}  // namespace kvsplice::gguf
