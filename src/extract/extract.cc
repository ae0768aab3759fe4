// Evaluates texts and writes what passes by.
#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <numeric>

#include "core/bytes.h"
#include "core/file.h"
#include "extract/dump_file.h"

namespace kvsplice::extract {

namespace {

using host::Capture;
using host::Signal;

// The wanted numbers in ascending order, or all of [0, below).
Result<std::vector<int>> choose(const std::string& what, std::vector<int> wanted, int below) {
  if (wanted.empty()) {
    wanted.resize(static_cast<size_t>(below));
    std::iota(wanted.begin(), wanted.end(), 0);
    return wanted;
  }
  std::sort(wanted.begin(), wanted.end());
  wanted.erase(std::unique(wanted.begin(), wanted.end()), wanted.end());
  for (int i : wanted) {
    if (i < 0 || i >= below) {
      return Error{ErrorKind::usage,
                   fmt::format("{} {} does not exist; 0 ... {} do", what, i, below - 1)};
    }
  }
  return wanted;
}

Result<DumpInfo> plan(const ModelShape& shape, const ExtractOptions& options) {
  DumpInfo info;
  info.shape = shape;
  KVS_ASSIGN(info.layers, choose("layer", options.layers, static_cast<int>(shape.layers.size())));
  const int heads = shape.layers[size_t(info.layers.front())].kv_heads;
  for (int layer : info.layers) {
    if (shape.layers[size_t(layer)].kv_heads != heads) {
      return Error{
          ErrorKind::unsupported,
          fmt::format("layers {} and {} have {} and {} KV heads; layers of one dump must "
                      "have as many, choose them by number",
                      info.layers.front(), layer, heads, shape.layers[size_t(layer)].kv_heads)};
    }
  }
  KVS_ASSIGN(info.heads, choose("KV head", options.heads, heads));
  info.signals = {Signal::key_before_rope, Signal::key, Signal::value};
  if (options.queries) info.signals.push_back(Signal::query);
  return info;
}

// The first `wanted` tokens of each text, in sequences of `chunk`; describes them in `info`.
Result<std::vector<int32_t>> tokenize_all(const host::Model& model,
                                          const std::vector<std::string>& paths, size_t wanted,
                                          size_t chunk, DumpInfo& info) {
  if (paths.empty()) return Error{ErrorKind::usage, "no text is given"};
  if (wanted < 1) return Error{ErrorKind::usage, "0 tokens wanted, at least 1 is needed"};
  if (chunk > 0 && wanted < chunk) {
    return Error{ErrorKind::usage,
                 fmt::format("{} tokens of a text are less than a sequence of {}", wanted, chunk)};
  }
  std::vector<int32_t> all;
  for (const std::string& path : paths) {
    KVS_ASSIGN(const std::string text, read_text(path));
    KVS_ASSIGN(std::vector<host::Token> tokens, model.tokenize(text));
    const size_t least = chunk > 0 ? chunk : wanted;
    if (tokens.size() < least) {
      return Error{ErrorKind::usage,
                   fmt::format("{} has {} tokens, {} are wanted", path, tokens.size(), least)};
    }
    const ByteSpan bytes{reinterpret_cast<const uint8_t*>(text.data()), text.size()};
    const size_t sequences = chunk > 0 ? std::min(wanted, tokens.size()) / chunk : 1;
    for (size_t i = 0; i < sequences; ++i) {
      if (i > 0 && model.adds_bos()) tokens[i * least] = model.bos();
      const auto first = tokens.begin() + static_cast<ptrdiff_t>(i * least);
      all.insert(all.end(), first, first + static_cast<ptrdiff_t>(least));
      info.texts.push_back(
          {std::filesystem::path(path).filename().string(), hash128_hex(bytes), least});
    }
  }
  return all;
}

// The columns of some heads.
Matrix<float> pick_heads(MatrixView<const float> rows, const std::vector<int>& heads, int dim) {
  const auto d = static_cast<size_t>(dim);
  Matrix<float> picked(rows.rows, heads.size() * d);
  for (size_t r = 0; r < rows.rows; ++r) {
    for (size_t h = 0; h < heads.size(); ++h) {
      std::copy_n(&rows(r, size_t(heads[h]) * d), d, &picked(r, h * d));
    }
  }
  return picked;
}

// Writes one capture; the rows of the text being evaluated start at `text_start` in the dump.
Result<> store(host::GgufWriter& file, const DumpInfo& info, size_t text_start, const Capture& c) {
  if (!std::binary_search(info.layers.begin(), info.layers.end(), c.layer)) return {};
  const std::string tensor = tensor_name(c.signal, c.layer);
  const size_t row = text_start + c.first;
  if (c.signal == Signal::query || info.heads.size() * size_t(c.head_dim) == c.rows.cols) {
    const std::span<const float> values(c.rows.data, c.rows.rows * c.rows.cols);
    return file.write(tensor, row * c.rows.cols, values);
  }
  const Matrix<float> picked = pick_heads(c.rows, info.heads, c.head_dim);
  return file.write(tensor, row * picked.cols(), picked.flat());
}

}  // namespace

Result<DumpInfo> extract(const host::Model& model, const std::vector<std::string>& text_paths,
                         const ExtractOptions& options, const std::string& out,
                         const Progress& progress) {
  KVS_ASSIGN(DumpInfo info, plan(model.shape(), options));
  KVS_ASSIGN(const auto tokens,
             tokenize_all(model, text_paths, options.tokens, options.chunk, info));
  KVS_ASSIGN(host::GgufWriter file, begin_dump(out, info, tokens));

  size_t text_start = 0;
  host::ContextOptions context_options;
  context_options.n_ctx = static_cast<int>(options.chunk > 0 ? options.chunk : options.tokens);
  context_options.n_ubatch = options.n_ubatch;
  context_options.threads = options.threads;
  context_options.signals = info.signals;
  context_options.capture = [&](const Capture& c) { return store(file, info, text_start, c); };
  KVS_ASSIGN(host::Context context, host::Context::create(model, context_options));
  const auto chunk = static_cast<size_t>(options.n_ubatch);
  for (const TextInfo& text : info.texts) {
    context.clear();
    for (size_t at = 0; at < text.tokens; at += chunk) {
      KVS_TRY(progress.step("extract", text_start + at, info.tokens()));
      const size_t n = std::min(chunk, text.tokens - at);
      KVS_TRY(context.decode({&tokens[text_start + at], n}));
    }
    text_start += text.tokens;
  }
  KVS_TRY(progress.step("extract", text_start, info.tokens()));
  KVS_TRY(file.finish());
  return info;
}

}  // namespace kvsplice::extract
