// kvsplice quality: perplexity, divergence and bytes of caches, in the loop.
#include <fmt/format.h>

#include <algorithm>
#include <filesystem>

#include "command.h"
#include "core/file.h"
#include "core/threads.h"
#include "host/texts.h"
#include "model_options.h"
#include "number_option.h"
#include "report/quality_report.h"
#include "terminal.h"

namespace kvsplice::app {

namespace {

struct QualityArguments {
  std::string model, text, out;
  std::vector<std::string> caches, live;
  quality::Options options;
  host::ModelOptions host;
};

// Codecs own their memory here; subjects point at them.
using Codecs = std::vector<std::unique_ptr<codec::Codec>>;

Result<quality::Subject> codec_subject(const std::string& path, Codecs& codecs) {
  KVS_ASSIGN(codec::Codec loaded, codec::Codec::load(path));
  codecs.push_back(std::make_unique<codec::Codec>(std::move(loaded)));
  return quality::Subject{std::filesystem::path(path).filename().string(), std::nullopt,
                          codecs.back().get()};
}

Result<quality::Subject> live_subject(const std::string& path, Codecs& codecs) {
  KVS_ASSIGN(quality::Subject subject, codec_subject(path, codecs));
  KVS_ASSIGN(auto form, live::LiveForm::of(*subject.codec));
  subject.name += ", live";
  subject.live = std::make_shared<live::LiveForm>(std::move(form));
  return subject;
}

Result<quality::Subject> subject_of(const std::string& cache, Codecs& codecs) {
  if (cache == "floor") return quality::Subject{"floor", std::nullopt, nullptr};
  const auto& types = host::cache_type_names();
  if (std::find(types.begin(), types.end(), cache) != types.end()) {
    KVS_ASSIGN(const auto type, host::parse_cache_type(cache));
    return quality::Subject{cache, type, nullptr};
  }
  std::error_code unknown;
  if (!std::filesystem::exists(cache, unknown)) {
    return Error{ErrorKind::usage,
                 fmt::format("--cache '{}' is neither a file nor one of {}, floor", cache,
                             fmt::join(types, ", "))};
  }
  return codec_subject(cache, codecs);
}

Result<> write(const QualityArguments& a, const std::vector<quality::Outcome>& outcomes,
               report::Results& results) {
  KVS_TRY(results.add_input(a.model));
  for (const std::string& cache : a.caches) {
    std::error_code unknown;
    if (std::filesystem::exists(cache, unknown)) KVS_TRY(results.add_input(cache));
  }
  for (const std::string& live : a.live) KVS_TRY(results.add_input(live));
  results.note("ctx", a.options.n_ctx);
  results.note("chunks", a.options.chunks);
  results.note("skip_chunks", a.options.skip_chunks);
  results.note("sinks", a.options.sinks);
  results.note("window", a.options.window);
  for (const auto& line : report::quality_findings(outcomes)) results.finding(line);
  KVS_TRY(results.add(report::quality_table(outcomes)));
  KVS_TRY(results.add(report::quality_figure(outcomes)));
  return results.finish();
}

Result<> run(const QualityArguments& a) {
  if (a.options.threads > 0) set_thread_count(a.options.threads);
  Codecs codecs;
  std::vector<quality::Subject> subjects;
  for (const std::string& cache : a.caches) {
    KVS_ASSIGN(auto subject, subject_of(cache, codecs));
    subjects.push_back(std::move(subject));
  }
  for (const std::string& live : a.live) {
    KVS_ASSIGN(auto subject, live_subject(live, codecs));
    subjects.push_back(std::move(subject));
  }
  if (subjects.empty()) {
    return Error{ErrorKind::usage, "no cache to measure: give some (--cache, --live)"};
  }
  KVS_ASSIGN(const std::string text, read_text(a.text));
  if (text.empty()) return Error{ErrorKind::usage, a.text + " is empty"};
  KVS_ASSIGN(auto results, report::Results::create(a.out, "quality", command_line()));
  results.add_input(a.text, text);  // a pipe cannot be read again
  KVS_TRY(report::check_drawing());
  KVS_ASSIGN(const auto model, host::Model::load(a.model, a.host));
  const size_t needed = size_t(a.options.skip_chunks + a.options.chunks) * size_t(a.options.n_ctx);
  KVS_ASSIGN(const auto tokens, host::tokenize(model, text, {.most = needed}));
  KVS_ASSIGN(const auto outcomes,
             quality::measure(model, tokens, subjects, a.options, terminal_progress()));
  KVS_TRY(write(a, outcomes, results));
  end_progress();
  fmt::print("{}\nresults in {}\n", report::quality_table(outcomes).text(), a.out);
  return {};
}

}  // namespace

Command quality_command();

Command quality_command() {
  return {
      "quality", "perplexity, divergence and bytes of caches, in the loop of the model",
      [](CLI::App& app) -> std::function<Result<>()> {
        auto a = std::make_shared<QualityArguments>();
        app.add_option("-m,--model", a->model, "model, GGUF")->required();
        app.add_option("-f,--file", a->text, "text to score")->required();
        app.add_option("-o,--out", a->out, "directory for the results")->required();
        app.add_option("--cache", a->caches,
                       "f16, q8_0, q5_1, q5_0, q4_1, q4_0, f32, floor or a codec file; repeatable")
            ->allow_extra_args(false);
        app.add_option("--live", a->live,
                       "file of a live codec, measured as `run --cache` uses it; repeatable")
            ->allow_extra_args(false);
        auto& o = a->options;
        add_number(app, "-c,--ctx-size,--ctx", o.n_ctx, {8, 1 << 28}, "tokens of a chunk");
        add_number(app, "--chunks", o.chunks, {1, 1 << 20}, "chunks to score");
        add_number(app, "--skip-chunks", o.skip_chunks, {0, 1 << 20}, "chunks passed over first");
        add_number(app, "--sinks", o.sinks, kTokens, "first tokens, kept exact");
        add_number(app, "--window", o.window, kTokens,
                   "newest tokens kept exact, beside those being evaluated");
        add_number(app, "--step", o.step, kTokens,
                   "tokens evaluated at once with codecs; 0: 32, or ctx/2 for codecs of whole "
                   "blocks");
        add_model_options(app, a->host);
        add_threads(app, o.threads);
        return [a] {
          a->host.context = a->options.n_ctx;
          return run(*a);
        };
      }};
}

}  // namespace kvsplice::app
