#include "extract/dump_file.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <numeric>

namespace kvsplice::extract {

namespace {

using host::Signal;

constexpr int64_t format = 1;
constexpr Signal all_signals[] = {Signal::key_before_rope, Signal::key, Signal::value,
                                  Signal::query};

Error damaged(const gguf::GgufReader& file, const std::string& what) {
  return {ErrorKind::format, fmt::format("{}: {}", file.path(), what)};
}

Result<> check_kind(const gguf::GgufReader& file) {
  const Result<std::string> kind = file.text("kvsplice.kind");
  if (!kind.ok() || *kind != "dump") {
    return damaged(file, "not a dump of KVSplice (kvsplice.kind is not 'dump')");
  }
  KVS_ASSIGN(int64_t version, file.integer("kvsplice.dump.format"));
  if (version < 1 || version > format) {
    return Error{ErrorKind::unsupported,
                 fmt::format("{}: dump format {}; this program reads 1 ... {}", file.path(),
                             version, format)};
  }
  return {};
}

// Ascending numbers, at least one, each in [0, below).
Result<std::vector<int>> read_subset(const gguf::GgufReader& file, const std::string& key,
                                     int below) {
  KVS_ASSIGN(std::vector<int32_t> values, file.integers(key));
  bool sound = !values.empty() && values.front() >= 0 && values.back() < below;
  for (size_t i = 1; i < values.size(); ++i) sound = sound && values[i] > values[i - 1];
  if (!sound) {
    return damaged(file, fmt::format("{} is [{}], ascending numbers of 0 ... {} are wanted", key,
                                     fmt::join(values, ", "), below - 1));
  }
  return values;
}

Result<std::vector<Signal>> read_signals(const gguf::GgufReader& file) {
  KVS_ASSIGN(std::vector<std::string> names, file.texts("kvsplice.dump.signals"));
  std::vector<Signal> signals;
  for (const std::string& name : names) {
    const auto found = std::find_if(std::begin(all_signals), std::end(all_signals),
                                    [&](Signal s) { return host::name(s) == name; });
    if (found == std::end(all_signals)) {
      return damaged(file, fmt::format("signal '{}' is unknown", name));
    }
    if (std::find(signals.begin(), signals.end(), *found) != signals.end()) {
      return damaged(file, fmt::format("signal '{}' is there twice", name));
    }
    signals.push_back(*found);
  }
  return signals;
}

Result<std::vector<TextInfo>> read_texts(const gguf::GgufReader& file) {
  KVS_ASSIGN(std::vector<std::string> names, file.texts("kvsplice.dump.text.names"));
  KVS_ASSIGN(std::vector<std::string> hashes, file.texts("kvsplice.dump.text.hashes"));
  KVS_ASSIGN(std::vector<int32_t> tokens, file.integers("kvsplice.dump.text.tokens"));
  if (names.empty() || hashes.size() != names.size() || tokens.size() != names.size()) {
    return damaged(file, fmt::format("{} names, {} hashes and {} lengths of texts", names.size(),
                                     hashes.size(), tokens.size()));
  }
  std::vector<TextInfo> texts;
  for (size_t i = 0; i < names.size(); ++i) {
    if (tokens[i] < 1) return damaged(file, fmt::format("text {} has {} tokens", i, tokens[i]));
    texts.push_back({names[i], hashes[i], static_cast<size_t>(tokens[i])});
  }
  return texts;
}

Result<> check_tensor(const gguf::GgufReader& file, const std::string& name, gguf::TensorType type,
                      size_t count) {
  const gguf::TensorInfo* tensor = file.find(name);
  if (tensor == nullptr) return damaged(file, fmt::format("tensor '{}' is missing", name));
  if (tensor->type != type || tensor->count() != count) {
    return damaged(file, fmt::format("tensor '{}' has {} values where {} of its type belong", name,
                                     tensor->count(), count));
  }
  return {};
}

Result<> check_tensors(const gguf::GgufReader& file, const DumpInfo& info) {
  KVS_TRY(check_tensor(file, "tokens", gguf::TensorType::i32, info.tokens()));
  KVS_TRY(check_tensor(file, "positions", gguf::TensorType::i32, info.tokens()));
  for (int layer : info.layers) {
    if (info.heads_of(layer).empty()) {
      return damaged(file, fmt::format("layer {} has no KV head {}", layer, info.heads.front()));
    }
    for (Signal signal : info.signals) {
      const size_t width =
          dumped_heads(info, signal, layer).size() * size_t(dumped_dim(info, signal, layer));
      if (width == 0) continue;  // values among the keys
      KVS_TRY(check_tensor(file, tensor_name(signal, layer), gguf::TensorType::f16,
                           info.tokens() * width));
    }
  }
  return {};
}

std::string sinks_name(int layer) { return fmt::format("sinks.{}", layer); }

void write_soft_caps(gguf::GgufWriter& file, const std::vector<Scoring>& scoring) {
  std::vector<float> caps;
  for (const Scoring& of : scoring) caps.push_back(of.soft_cap);
  if (std::count(caps.begin(), caps.end(), 0.0f) == std::ssize(caps)) return;
  file.set("kvsplice.dump.soft_cap", caps);
}

// Calls body(layer, its sinks) for the layers that are there and have some.
template <class Body>
Result<> for_sinks(const DumpInfo& info, const Body& body) {
  if (info.scoring.empty()) return {};
  for (const int layer : info.layers) {
    const std::vector<float>& sinks = info.scoring[size_t(layer)].sinks;
    if (!sinks.empty()) KVS_TRY(body(layer, sinks));
  }
  return {};
}

bool all_finite(const std::vector<float>& values) {
  return std::all_of(values.begin(), values.end(), [](float x) { return std::isfinite(x); });
}

Result<std::vector<float>> read_soft_caps(const gguf::GgufReader& file, size_t layers) {
  constexpr const char* kKey = "kvsplice.dump.soft_cap";
  if (!file.has(kKey)) return std::vector<float>(layers);
  KVS_ASSIGN(std::vector<float> caps, file.numbers(kKey));
  const bool negative = std::any_of(caps.begin(), caps.end(), [](float x) { return x < 0; });
  if (caps.size() == layers && all_finite(caps) && !negative) return caps;
  return damaged(
      file, fmt::format("{} must be a number of at least 0 for each of {} layers", kKey, layers));
}

Result<std::vector<float>> read_sinks(const gguf::GgufReader& file, const DumpInfo& info,
                                      int layer) {
  const std::string name = sinks_name(layer);
  if (file.find(name) == nullptr) return std::vector<float>();
  std::vector<float> sinks(size_t(info.shape.query_heads_of(layer)));
  KVS_TRY(check_tensor(file, name, gguf::TensorType::f32, sinks.size()));
  KVS_TRY(file.read(name, 0, std::span<float>(sinks)));
  if (all_finite(sinks)) return sinks;
  return damaged(file, name + " are not all finite");
}

Result<std::vector<Scoring>> read_scoring(const gguf::GgufReader& file, const DumpInfo& info) {
  const size_t layers = info.shape.layers.size();
  KVS_ASSIGN(const std::vector<float> caps, read_soft_caps(file, layers));
  std::vector<Scoring> scoring(layers);
  for (size_t l = 0; l < layers; ++l) {
    scoring[l].soft_cap = caps[l];
    KVS_ASSIGN(scoring[l].sinks, read_sinks(file, info, int(l)));
  }
  if (scoring == std::vector<Scoring>(layers)) scoring.clear();
  return scoring;
}

}  // namespace

std::string tensor_name(Signal signal, int layer) {
  return fmt::format("{}.{}", host::name(signal), layer);
}

std::vector<int> dumped_heads(const DumpInfo& info, Signal signal, int layer) {
  if (signal != Signal::query) {
    const std::span<const int> heads = info.heads_of(layer);
    return {heads.begin(), heads.end()};
  }
  if (info.shape.layers[size_t(layer)].value_dim == 0) return info.readers_of(layer);
  std::vector<int> all(size_t(info.shape.query_heads_of(layer)));
  std::iota(all.begin(), all.end(), 0);
  return all;
}

int dumped_dim(const DumpInfo& info, Signal signal, int layer) {
  return info.shape.layers[size_t(layer)].heads_dim(signal == Signal::value ? Kind::value
                                                                            : Kind::key);
}

Matrix<float> pick_heads(MatrixView<const float> rows, std::span<const int> heads, size_t dim) {
  Matrix<float> picked(rows.rows, heads.size() * dim);
  for (size_t r = 0; r < rows.rows; ++r) {
    for (size_t h = 0; h < heads.size(); ++h) {
      std::copy_n(&rows(r, size_t(heads[h]) * dim), dim, &picked(r, h * dim));
    }
  }
  return picked;
}

std::vector<int32_t> positions_of(const DumpInfo& info) {
  std::vector<int32_t> positions;
  for (const TextInfo& text : info.texts) {
    for (size_t i = 0; i < text.tokens; ++i) positions.push_back(static_cast<int32_t>(i));
  }
  return positions;
}

Result<gguf::GgufWriter> begin_dump(const std::string& path, const DumpInfo& info,
                                    std::span<const int32_t> tokens) {
  KVS_ASSIGN(gguf::GgufWriter file, gguf::GgufWriter::create(path, Readers::owner));
  file.set("kvsplice.kind", std::string("dump"));
  file.set("kvsplice.dump.format", format);
  file.set("kvsplice.dump.synthetic", info.synthetic);
  file.set("kvsplice.dump.layers", std::vector<int32_t>(info.layers));
  file.set("kvsplice.dump.heads", std::vector<int32_t>(info.heads));
  std::vector<std::string> signals, names, hashes;
  std::vector<int32_t> lengths;
  for (Signal signal : info.signals) signals.push_back(host::name(signal));
  for (const TextInfo& text : info.texts) {
    names.push_back(text.name);
    hashes.push_back(text.hash);
    lengths.push_back(static_cast<int32_t>(text.tokens));
  }
  file.set("kvsplice.dump.signals", signals);
  file.set("kvsplice.dump.text.names", names);
  file.set("kvsplice.dump.text.hashes", hashes);
  file.set("kvsplice.dump.text.tokens", lengths);
  gguf::write_shape(file, info.shape);
  write_soft_caps(file, info.scoring);

  const size_t n = info.tokens();
  file.declare({"tokens", gguf::TensorType::i32, {n}});
  file.declare({"positions", gguf::TensorType::i32, {n}});
  for (int layer : info.layers) {
    for (Signal signal : info.signals) {
      if (dumped_dim(info, signal, layer) == 0) continue;
      file.declare(
          {tensor_name(signal, layer),
           gguf::TensorType::f16,
           {n, dumped_heads(info, signal, layer).size(), size_t(dumped_dim(info, signal, layer))}});
    }
  }
  KVS_TRY(for_sinks(info, [&](int layer, const std::vector<float>& sinks) -> Result<> {
    file.declare({sinks_name(layer), gguf::TensorType::f32, {sinks.size()}});
    return {};
  }));
  KVS_TRY(file.begin_data());
  KVS_TRY(for_sinks(info, [&](int layer, const std::vector<float>& sinks) {
    return file.write(sinks_name(layer), 0, std::span<const float>(sinks));
  }));
  KVS_TRY(file.write("tokens", 0, tokens));
  KVS_TRY(file.write("positions", 0, std::span<const int32_t>(positions_of(info))));
  return file;
}

Result<DumpInfo> read_info(const gguf::GgufReader& file) {
  KVS_TRY(check_kind(file));
  DumpInfo info;
  KVS_ASSIGN(info.shape, gguf::read_shape(file));
  KVS_ASSIGN(info.synthetic, file.flag("kvsplice.dump.synthetic"));
  const auto layers = static_cast<int>(info.shape.layers.size());
  KVS_ASSIGN(info.layers, read_subset(file, "kvsplice.dump.layers", layers));
  KVS_ASSIGN(info.heads, read_subset(file, "kvsplice.dump.heads", info.shape.query_heads));
  KVS_ASSIGN(info.signals, read_signals(file));
  KVS_ASSIGN(info.texts, read_texts(file));
  KVS_TRY(check_tensors(file, info));
  KVS_ASSIGN(info.scoring, read_scoring(file, info));
  return info;
}

}  // namespace kvsplice::extract
