// Evaluates texts and writes what passes by.
#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <numeric>

#include "core/bytes.h"
#include "core/file.h"
#include "extract/dump_file.h"
#include "host/texts.h"

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
  int most = 0;
  for (int layer : info.layers) most = std::max(most, shape.layers[size_t(layer)].kv_heads);
  KVS_ASSIGN(info.heads, choose("KV head", options.heads, most));
  for (int layer : info.layers) {
    if (!info.heads_of(layer).empty()) continue;
    return Error{ErrorKind::usage,
                 fmt::format("layer {} has {} KV heads and none of those chosen, of which {} is "
                             "the first",
                             layer, shape.layers[size_t(layer)].kv_heads, info.heads.front())};
  }
  info.signals = {Signal::key_before_rope, Signal::value};
  if (options.keys_after_rope) info.signals.insert(info.signals.begin() + 1, Signal::key);
  if (options.queries) info.signals.push_back(Signal::query);
  return info;
}

Result<Sequence> read_beginning(const host::Model& model, const std::string& path, size_t most) {
  KVS_ASSIGN(const std::string text, read_text(path));
  if (text.empty()) return Error{ErrorKind::usage, path + " is empty"};
  const ByteSpan bytes{reinterpret_cast<const uint8_t*>(text.data()), text.size()};
  Sequence sequence{std::filesystem::path(path).filename().string(), hash128_hex(bytes), {}};
  KVS_ASSIGN(sequence.tokens, host::tokenize(model, text, {.most = most}));
  return sequence;
}

Result<std::vector<Sequence>> beginnings(const host::Model& model,
                                         const std::vector<std::string>& paths, size_t wanted) {
  if (paths.empty()) return Error{ErrorKind::usage, "no text is given"};
  if (wanted < 1) return Error{ErrorKind::usage, "0 tokens wanted, at least 1 is needed"};
  std::vector<Sequence> made;
  for (const std::string& path : paths) {
    KVS_ASSIGN(Sequence sequence, read_beginning(model, path, wanted));
    made.push_back(std::move(sequence));
  }
  const auto longest = std::max_element(
      made.begin(), made.end(),
      [](const Sequence& a, const Sequence& b) { return a.tokens.size() < b.tokens.size(); });
  if (longest->tokens.size() == wanted) return made;
  return Error{
      ErrorKind::usage,
      fmt::format("{} has {} tokens, {} are wanted{}", longest->text, longest->tokens.size(),
                  wanted, paths.size() > 1 ? "; the other texts have no more" : "")};
}

// Writes one capture; the rows of the text being evaluated start at `text_start` in the dump.
Result<> store(gguf::GgufWriter& file, const DumpInfo& info, size_t text_start, const Capture& c) {
  if (!std::binary_search(info.layers.begin(), info.layers.end(), c.layer)) return {};
  const std::string tensor = tensor_name(c.signal, c.layer);
  const size_t row = text_start + c.first;
  const std::vector<int> heads = dumped_heads(info, c.signal, c.layer);
  if (heads.size() * size_t(c.head_dim) == c.rows.cols) {
    const std::span<const float> values(c.rows.data, c.rows.rows * c.rows.cols);
    return file.write(tensor, row * c.rows.cols, values);
  }
  const Matrix<float> picked = pick_heads(c.rows, heads, size_t(c.head_dim));
  return file.write(tensor, row * picked.cols(), picked.flat());
}

}  // namespace

Result<Sequence> read_sequence(const host::Model& model, const std::string& path) {
  return read_beginning(model, path, size_t(-1));
}

Result<DumpInfo> extract(const host::Model& model, const std::vector<std::string>& text_paths,
                         const ExtractOptions& options, const std::string& out,
                         const Progress& progress) {
  KVS_ASSIGN(const auto sequences, beginnings(model, text_paths, options.tokens));
  return extract(model, sequences, options, out, progress);
}

Result<DumpInfo> extract(const host::Model& model, const std::vector<Sequence>& sequences,
                         const ExtractOptions& options, const std::string& out,
                         const Progress& progress) {
  KVS_ASSIGN(DumpInfo info, plan(model.shape(), options));
  info.scoring.assign(model.scoring().begin(), model.scoring().end());
  if (sequences.empty()) return Error{ErrorKind::usage, "no sequence is given"};
  std::vector<int32_t> tokens;
  size_t longest = 0;
  for (const Sequence& s : sequences) {
    if (s.tokens.empty()) return Error{ErrorKind::usage, s.text + " has no tokens"};
    info.texts.push_back({s.text, s.hash, s.tokens.size()});
    tokens.insert(tokens.end(), s.tokens.begin(), s.tokens.end());
    longest = std::max(longest, s.tokens.size());
  }
  KVS_ASSIGN(gguf::GgufWriter file, begin_dump(out, info, tokens));

  size_t text_start = 0;
  host::ContextOptions context_options;
  context_options.n_ctx = static_cast<int>(longest);
  context_options.n_ubatch = options.n_ubatch;
  context_options.threads = options.threads;
  context_options.signals = info.signals;
  context_options.capture = [&](const Capture& c) { return store(file, info, text_start, c); };
  KVS_ASSIGN(host::Context context, host::Context::create(model, context_options));
  const auto chunk =
      static_cast<size_t>(options.n_ubatch > 0 ? options.n_ubatch : model.options().most_at_once());
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
