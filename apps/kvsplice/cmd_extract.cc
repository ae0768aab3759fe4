// kvsplice extract: keys, values and queries of texts, or the synthetic stand-in, into dump.gguf.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <charconv>
#include <filesystem>
#include <memory>

#include "command.h"
#include "core/threads.h"
#include "extract/dump.h"
#include "stopwatch.h"
#include "terminal.h"

namespace kvsplice::app {

namespace {

struct ExtractArguments {
  std::string model, out, layers, heads;
  std::vector<std::string> texts;
  size_t tokens = 2048;
  bool no_queries = false, synthetic = false;
  extract::SyntheticOptions generator;
  int threads = 0;
};

// "0,7-9" -> 0 7 8 9; empty: all.
Result<std::vector<int>> parse_numbers(const std::string& option, std::string_view text) {
  constexpr int most = 1 << 16;
  std::vector<int> numbers;
  const char *at = text.data(), *const end = text.data() + text.size();
  while (at != end) {
    int low = 0, high = 0;
    auto parsed = std::from_chars(at, end, low);
    high = low;
    if (parsed.ec == std::errc() && parsed.ptr != end && *parsed.ptr == '-') {
      parsed = std::from_chars(parsed.ptr + 1, end, high);
    }
    const bool more = parsed.ptr != end && *parsed.ptr == ',' && parsed.ptr + 1 != end;
    if (parsed.ec != std::errc() || (parsed.ptr != end && !more) || low < 0 || high < low ||
        high > most) {
      return Error{ErrorKind::usage,
                   fmt::format("{} '{}': numbers and ranges like 0,7-9 are wanted", option, text)};
    }
    for (int i = low; i <= high; ++i) numbers.push_back(i);
    at = parsed.ptr + (more ? 1 : 0);
  }
  return numbers;
}

Result<> summarise(const extract::DumpInfo& info, const std::string& out, double seconds) {
  std::error_code unknown;  // of a pipe
  const auto bytes = std::filesystem::file_size(out, unknown);
  std::vector<std::string> signals;
  for (host::Signal s : info.signals) signals.push_back(host::name(s));
  fmt::print(
      summary_stream(out),
      "{}: {} tokens of {} text{}, {} layers x {} KV heads, {}; {:.1f} MB, {:.0f} tokens/s\n", out,
      info.tokens(), info.texts.size(), info.texts.size() == 1 ? "" : "s", info.layers.size(),
      info.heads.size(), fmt::join(signals, " "), unknown ? 0.0 : double(bytes) / 1e6,
      double(info.tokens()) / seconds);
  return {};
}

Result<extract::DumpInfo> extract_texts(const ExtractArguments& args) {
  if (args.model.empty() || args.texts.empty()) {
    return Error{ErrorKind::usage, "a model (-m) and a text (-f) are needed, or --synthetic"};
  }
  extract::ExtractOptions options;
  options.tokens = args.tokens;
  options.queries = !args.no_queries;
  options.threads = args.threads;
  KVS_ASSIGN(options.layers, parse_numbers("--layers", args.layers));
  KVS_ASSIGN(options.heads, parse_numbers("--heads", args.heads));
  KVS_ASSIGN(const host::Model model, host::Model::load(args.model));
  return extract::extract(model, args.texts, options, args.out, terminal_progress());
}

Result<> run_extract(const ExtractArguments& args) {
  if (args.threads > 0) set_thread_count(args.threads);
  const Stopwatch watch;
  KVS_ASSIGN(
      const extract::DumpInfo info,
      args.synthetic ? extract::extract_synthetic(args.generator, args.out) : extract_texts(args));
  return summarise(info, args.out, watch.seconds());
}

}  // namespace

Command extract_command();

Command extract_command() {
  return {
      "extract", "writes keys, values and queries of texts to a dump", [](CLI::App& verb) {
        auto args = std::make_shared<ExtractArguments>();
        auto* model = verb.add_option("-m,--model", args->model, "GGUF model");
        auto* texts = verb.add_option("-f,--text", args->texts, "one or more texts");
        auto* tokens = verb.add_option("-n,--tokens", args->tokens, "tokens of each text")
                           ->capture_default_str()
                           ->check(CLI::Range(1, 1 << 24));
        verb.add_option("-o,--output", args->out, "the dump, a GGUF file")->required();
        auto* layers = verb.add_option("--layers", args->layers, "only these, e.g. 0,7-9");
        auto* heads = verb.add_option("--heads", args->heads, "only these KV heads");
        auto* queries = verb.add_flag("--no-queries", args->no_queries, "leave queries out");
        auto* synthetic = verb.add_flag("--synthetic", args->synthetic,
                                        "the NeRF-Attention seed's generated data, no model");
        auto* generator = &args->generator;
        for (auto* option :
             {verb.add_option("--synthetic-layers", generator->layers, "layers to generate"),
              verb.add_option("--synthetic-heads", generator->heads, "heads to generate"),
              verb.add_option("--synthetic-dim", generator->head_dim, "dimensions of a head"),
              verb.add_option("--seed", generator->seed, "of the generated data")}) {
          option->capture_default_str()->needs(synthetic);
        }
        for (auto* option : {model, texts, layers, heads, queries}) {
          synthetic->excludes(option);
        }
        verb.add_option("--threads", args->threads, "threads (0: all)")->check(CLI::Range(0, 1024));
        return [args, tokens] {
          if (tokens->count() > 0) args->generator.tokens = args->tokens;
          return run_extract(*args);
        };
      }};
}

}  // namespace kvsplice::app
