// kvsplice fit: fits a codec to dumps.
#include <fmt/format.h>

#include "command.h"
#include "core/same_cache.h"
#include "core/stopwatch.h"
#include "core/threads.h"
#include "fit/dump_source.h"
#include "fit/fit_codec.h"
#include "host/cache_block.h"
#include "host/model.h"
#include "number_option.h"
#include "terminal.h"

namespace kvsplice::app {

namespace {

struct FitArguments {
  std::vector<std::string> dumps;
  std::string codec, model, out;
  size_t sinks = 4;
  int threads = 0;
};

std::string stage_help() {
  std::string text = "Stages, joined by '|'; 'k: ... ; v: ...' gives keys and values their own:\n";
  for (const auto& info : codec::stage_table()) {
    std::vector<std::string> params;
    for (const auto& p : info.params) {
      params.push_back(fmt::format("      {:<15}{} ({}{})", p.name, p.help, p.allowed,
                                   p.default_value.empty() ? "" : "; default " + p.default_value));
    }
    text += fmt::format(
        "  {}{}: {}\n{}{}", info.name,
        info.aliases.empty() ? "" : fmt::format(" (also {})", fmt::join(info.aliases, ", ")),
        info.summary, fmt::join(params, "\n"), params.empty() ? "" : "\n");
  }
  return text;
}

Result<> run(const FitArguments& a) {
  if (a.threads > 0) set_thread_count(a.threads);
  const Stopwatch watch;
  KVS_ASSIGN(const codec::CodecText text, codec::parse_codec(a.codec));
  KVS_ASSIGN(OutputFile out, OutputFile::reserve(a.out));
  KVS_ASSIGN(const auto source, codec::DumpSource::open(a.dumps, a.sinks));
  KVS_TRY(codec::Codec::make_units(text, source.shape()));
  std::optional<host::Model> model;
  codec::Embeddings embeddings;
  if (!a.model.empty()) {
    KVS_ASSIGN(model, host::Model::load(a.model));
    KVS_TRY(same_model(a.dumps.front() + " is of", source.shape(), a.model, model->shape()));
    embeddings = host::embeddings_of(*model);
  }
  KVS_ASSIGN(const codec::Codec codec,
             codec::fit_codec(text, source.shape(), source, model ? &embeddings : nullptr,
                              terminal_progress()));
  KVS_TRY(codec.save(std::move(out)));
  end_progress();
  fmt::print(summary_stream(a.out),
             "{}: {}, fitted on {} tokens in {:.1f} s, {:.2f} MB of side data\n", a.out,
             codec::print(codec.text()), codec.calibration_tokens(), watch.seconds(),
             double(codec.state_bytes()) / 1e6);
  return {};
}

}  // namespace

Command fit_command();

Command fit_command() {
  return {
      "fit", "fit a codec to one or more dumps", [](CLI::App& app) -> std::function<Result<>()> {
        auto a = std::make_shared<FitArguments>();
        app.add_option("dump", a->dumps, "dumps to calibrate on, of one model")->required();
        app.add_option("--codec", a->codec, "pipeline, e.g. 'klt(scope=layer) | step(delta=0.6)'")
            ->required();
        app.add_option("-o,--out", a->out, "codec file to write")->required();
        app.add_option("-m,--model", a->model, "model, for stages that read token embeddings");
        add_number(app, "--sinks", a->sinks, kTokens, "first tokens of each text to leave out");
        add_threads(app, a->threads);
        app.footer(stage_help());
        return [a] { return run(*a); };
      }};
}

}  // namespace kvsplice::app
