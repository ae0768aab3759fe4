#include "train/lm/export.h"

#include <fmt/format.h>

#include <algorithm>

#include "gguf/gguf_file.h"
#include "gguf/metadata.h"

namespace kvsplice::train::lm {

namespace {

using gguf::GgufReader;
using gguf::GgufWriter;
using gguf::TensorType;

// A tensor by name, with its values.
struct Tensor {
  std::string name;
  std::vector<size_t> dims;
  std::vector<float> values;
};

Result<> write(GgufWriter& file, const std::vector<Tensor>& tensors) {
  for (const Tensor& t : tensors) file.declare({t.name, TensorType::f32, t.dims});
  KVS_TRY(file.begin_data());
  for (const Tensor& t : tensors) KVS_TRY(file.write(t.name, 0, std::span<const float>(t.values)));
  return file.finish();
}

std::vector<size_t> dims_of(const Group& group) {
  if (group.rows == 1) return {group.cols};
  return {group.rows, group.cols};
}

std::vector<float> values_of(const Group& group, std::span<const float> parameters) {
  const auto part = group.in(parameters);
  return {part.begin(), part.end()};
}

std::vector<float> flat(MatrixView<const float> rows) {
  std::vector<float> values;
  for (size_t r = 0; r < rows.rows; ++r) {
    values.insert(values.end(), rows.row(r).begin(), rows.row(r).end());
  }
  return values;
}

// Keys' and values' weights of a layer; biases if there are any.
void add_projections(const Model<float>& model, std::span<const float> parameters, size_t layer,
                     std::vector<Tensor>& tensors) {
  const auto merged = model.merged(parameters, layer);
  const size_t kv = model.shape().kv_width(), width = model.shape().width;
  const bool biased = std::any_of(merged.constant.begin(), merged.constant.end(),
                                  [](float constant) { return constant != 0; });
  const char* const names[] = {"attn_k", "attn_v"};
  for (const size_t i : {0, 1}) {
    const std::string name = fmt::format("blk.{}.{}", layer, names[i]);
    tensors.push_back(
        {name + ".weight", {kv, width}, flat(merged.matrix.view().row_range(i * kv, kv))});
    const auto constant = merged.constant.begin() + ptrdiff_t(i * kv);
    if (biased) tensors.push_back({name + ".bias", {kv}, {constant, constant + ptrdiff_t(kv)}});
  }
}

void describe(const Shape& shape, GgufWriter& file) {
  const auto set = [&](const char* key, auto value) {
    file.set(std::string("llama.") + key, value);
  };
  file.set("general.architecture", std::string("llama"));
  file.set("general.type", std::string("model"));
  set("context_length", uint32_t(shape.length));
  set("embedding_length", uint32_t(shape.width));
  set("block_count", uint32_t(shape.layers));
  set("feed_forward_length", uint32_t(shape.hidden));
  set("attention.head_count", uint32_t(shape.heads));
  set("attention.head_count_kv", uint32_t(shape.kv_heads));
  set("attention.key_length", uint32_t(shape.head_dim));
  set("attention.value_length", uint32_t(shape.head_dim));
  set("attention.layer_norm_rms_epsilon", 1e-5f);
  set("rope.dimension_count", uint32_t(shape.head_dim));
  set("rope.freq_base", float(shape.rope_base));
  set("vocab_size", uint32_t(shape.vocabulary));
}

void write_vocabulary(const Vocabulary& v, GgufWriter& file) {
  const auto set = [&](const char* key, const auto& value) {
    file.set(std::string("tokenizer.ggml.") + key, value);
  };
  set("model", std::string("gpt2"));
  set("pre", v.splits);
  set("tokens", v.tokens);
  set("token_type", v.types);
  set("merges", v.merges);
  set("bos_token_id", v.begin);
  set("eos_token_id", v.end);
  set("add_bos_token", false);
  set("add_space_prefix", false);
}

std::string joined(std::string merge) {
  const size_t blank = merge.find(' ', 1);
  return blank == std::string::npos ? merge : merge.erase(blank, 1);
}

Error not_pairs(const std::string& model) {
  return {ErrorKind::unsupported,
          model + ": a vocabulary of byte pairs is wanted whose tokens follow their merges"};
}

}  // namespace

Result<Vocabulary> first_tokens(const std::string& model, size_t size) {
  KVS_ASSIGN(auto source, file_source(model));
  KVS_ASSIGN(const auto file, gguf::Metadata::read(std::move(source), model));
  const auto key = [](const char* name) { return std::string("tokenizer.ggml.") + name; };
  KVS_ASSIGN(const std::string kind, file.text(key("model")));
  if (kind != "gpt2") return not_pairs(model);
  Vocabulary v;
  KVS_ASSIGN(v.splits, file.text(key("pre")));
  KVS_ASSIGN(v.tokens, file.texts(key("tokens")));
  KVS_ASSIGN(v.merges, file.texts(key("merges")));
  KVS_ASSIGN(v.types, file.integers(key("token_type")));
  KVS_ASSIGN(const int64_t begin, file.integer(key("bos_token_id")));
  KVS_ASSIGN(const int64_t end, file.integer(key("eos_token_id")));
  if (v.tokens.size() < v.merges.size() || v.types.size() != v.tokens.size()) {
    return not_pairs(model);
  }
  const size_t others = v.tokens.size() - v.merges.size();  // bytes and markers
  if (size < others || size > v.tokens.size()) {
    return Error{ErrorKind::usage, fmt::format("a vocabulary of {} tokens is wanted; of {} there "
                                               "can be {} ... {}",
                                               size, model, others, v.tokens.size())};
  }
  v.tokens.resize(size);
  v.types.resize(size);
  v.merges.resize(size - others);
  for (size_t i = 0; i < v.merges.size(); ++i) {
    if (v.tokens[others + i] != joined(v.merges[i])) return not_pairs(model);
  }
  if (begin < 0 || end < 0 || size_t(std::max(begin, end)) >= size) return not_pairs(model);
  v.begin = uint32_t(begin), v.end = uint32_t(end);
  return v;
}

Result<> export_model(const Model<float>& model, std::span<const float> parameters,
                      const Vocabulary& vocabulary, const std::string& path) {
  if (!model.affine()) {
    return Error{ErrorKind::usage, "a cache that is not made by linear maps cannot be exported"};
  }
  std::vector<Tensor> tensors;
  for (const Group& group : model.layout().groups()) {
    if (group.name.find(".cache.") != std::string::npos) continue;
    tensors.push_back({group.name, dims_of(group), values_of(group, parameters)});
  }
  for (size_t i = 0; i < model.shape().layers; ++i) {
    add_projections(model, parameters, i, tensors);
  }
  KVS_ASSIGN(GgufWriter file, GgufWriter::create(path));
  describe(model.shape(), file);
  write_vocabulary(vocabulary, file);
  return write(file, tensors);
}

Result<> save_parameters(const Layout& layout, std::span<const float> parameters,
                         const std::string& path) {
  std::vector<Tensor> tensors;
  for (const Group& group : layout.groups()) {
    tensors.push_back({group.name, dims_of(group), values_of(group, parameters)});
  }
  KVS_ASSIGN(GgufWriter file, GgufWriter::create(path));
  return write(file, tensors);
}

Result<std::vector<float>> load_parameters(const Layout& layout, const std::string& path) {
  KVS_ASSIGN(const GgufReader file, GgufReader::open(path));
  std::vector<float> parameters(layout.size());
  for (const Group& group : layout.groups()) {
    const auto* tensor = file.find(group.name);
    if (tensor == nullptr || tensor->dims != dims_of(group)) {
      return Error{ErrorKind::format,
                   fmt::format("{}: no '{}' of {} x {}", path, group.name, group.rows, group.cols)};
    }
    KVS_TRY(file.read(group.name, 0, group.in(std::span<float>(parameters))));
  }
  return parameters;
}

}  // namespace kvsplice::train::lm
