// kvsplice extract: keys, values and queries of texts, or the synthetic stand-in, into dump.gguf.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <filesystem>
#include <memory>

#include "command.h"
#include "core/stopwatch.h"
#include "core/threads.h"
#include "extract/dump.h"
#include "model_options.h"
#include "number_option.h"
#include "terminal.h"

namespace kvsplice::app {

namespace {

struct ExtractArguments {
  std::string model, out;
  std::vector<int> layers, heads;
  std::vector<std::string> texts;
  size_t tokens = 2048;
  bool no_queries = false, synthetic = false;
  extract::SyntheticOptions generator;
  host::ModelOptions host;
  int threads = 0;
};

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

void tell_shorter(const extract::DumpInfo& info, size_t wanted, const std::string& out) {
  for (const auto& text : info.texts) {
    if (text.tokens >= wanted) continue;
    fmt::print(summary_stream(out), "note: {} has {} tokens, fewer than {}: all of it was taken\n",
               text.name, text.tokens, wanted);
  }
}

Result<extract::DumpInfo> extract_texts(const ExtractArguments& args) {
  if (args.model.empty() || args.texts.empty()) {
    return Error{ErrorKind::usage, "a model (-m) and a text (-f) are needed, or --synthetic"};
  }
  extract::ExtractOptions options;
  options.tokens = args.tokens;
  options.queries = !args.no_queries;
  options.threads = args.threads;
  options.layers = args.layers;
  options.heads = args.heads;
  KVS_ASSIGN(const host::Model model, host::Model::load(args.model, args.host));
  return extract::extract(model, args.texts, options, args.out, terminal_progress());
}

Result<> run_extract(const ExtractArguments& args) {
  if (args.threads > 0) set_thread_count(args.threads);
  const Stopwatch watch;
  KVS_ASSIGN(
      const extract::DumpInfo info,
      args.synthetic ? extract::extract_synthetic(args.generator, args.out) : extract_texts(args));
  KVS_TRY(summarise(info, args.out, watch.seconds()));
  if (!args.synthetic) tell_shorter(info, args.tokens, args.out);
  return {};
}

}  // namespace

Command extract_command();

Command extract_command() {
  return {"extract", "writes keys, values and queries of texts to a dump", [](CLI::App& verb) {
            auto args = std::make_shared<ExtractArguments>();
            auto* model = verb.add_option("-m,--model", args->model, "GGUF model");
            auto* texts = verb.add_option("-f,--file", args->texts, "one or more texts");
            auto* tokens =
                add_number(verb, "-n,--tokens", args->tokens, {1, 1 << 24}, "tokens of each text");
            verb.add_option("-o,--out", args->out, "the dump, a GGUF file")->required();
            auto* layers = add_numbers(verb, "--layers", args->layers, "only these");
            auto* heads = add_numbers(verb, "--heads", args->heads, "only these KV heads");
            auto* queries = verb.add_flag("--no-queries", args->no_queries, "leave queries out");
            auto* synthetic = verb.add_flag("--synthetic", args->synthetic,
                                            "the NeRF-Attention seed's generated data, no model");
            auto* generator = &args->generator;
            for (auto* option :
                 {add_number(verb, "--synthetic-layers", generator->layers, {1, 1024},
                             "layers to generate"),
                  add_number(verb, "--synthetic-heads", generator->heads, {1, 1024},
                             "heads to generate"),
                  add_number(verb, "--synthetic-dim", generator->head_dim, {1, 1 << 16},
                             "dimensions of a head"),
                  add_number(verb, "--seed", generator->seed, kSeeds, "of the generated data")}) {
              option->needs(synthetic);
            }
            for (auto* option : {model, texts, layers, heads, queries}) {
              synthetic->excludes(option);
            }
            add_context_option(verb, args->host)->excludes(synthetic);
            for (CLI::Option* option : add_model_options(verb, args->host)) {
              synthetic->excludes(option);
            }
            add_threads(verb, args->threads);
            return [args, tokens] {
              if (tokens->count() > 0) args->generator.tokens = args->tokens;
              return run_extract(*args);
            };
          }};
}

}  // namespace kvsplice::app
