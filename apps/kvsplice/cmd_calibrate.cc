// kvsplice calibrate: from texts to a codec in one command.
#include <fmt/format.h>

#include "calibrate/calibrate.h"
#include "command.h"
#include "core/quantities.h"
#include "core/stopwatch.h"
#include "core/threads.h"
#include "launched.h"
#include "model_options.h"
#include "number_option.h"
#include "terminal.h"

namespace kvsplice::app {

namespace {

struct CalibrateArguments {
  std::string model, out;
  std::vector<std::string> texts;
  calibrate::CalibrateOptions options;
  std::optional<double> bits;
  std::string memory;
  host::ModelOptions host;
};

Result<> fit_and_save(const CalibrateArguments& a, const host::Model& model, OutputFile out,
                      const Stopwatch& watch) {
  KVS_ASSIGN(const auto made, calibrate::calibrate(model, a.texts, a.options, terminal_progress()));
  KVS_TRY(made.codec.save(std::move(out)));
  end_progress();
  std::FILE* const summary = summary_stream(a.out);
  for (const auto& note : made.notes) fmt::print(summary, "note: {}\n", note);
  for (const auto& t : made.trials) {
    if (t.ratio == 0) continue;
    fmt::print(summary, "steps x {:.4f} on {} tokens: ratio {:.2f}{}\n", t.factor, t.tokens,
               t.ratio, t.kld > 0 ? fmt::format(", divergence above the floor {:.5f}", t.kld) : "");
  }
  fmt::print(summary,
             "{}: {}, fitted on {} tokens of {} texts in {:.1f} s, {:.2f} MB of state ({:.1f} % of "
             "the model)\n",
             a.out, codec::print(made.codec.text()), made.tokens, a.texts.size(), watch.seconds(),
             double(made.codec.state_bytes()) / 1e6,
             100.0 * double(made.codec.state_bytes()) / double(model.file_bytes()));
  return {};
}

Result<> run_alone(const CalibrateArguments& a) {
  const Stopwatch watch;
  KVS_ASSIGN(OutputFile out, OutputFile::reserve(a.out));
  KVS_ASSIGN(const auto model, host::Model::load(a.model, a.host));
  return fit_and_save(a, model, std::move(out), watch);
}

// All evaluate, one fits.
Result<> run_in_team(const CalibrateArguments& a) {
  const sweep::Team& team = a.options.team;
  if (a.options.work.empty()) {
    return Error{ErrorKind::usage, fmt::format("{} processes calibrate together: give --work, a "
                                               "folder that all of them see",
                                               team.rank().count)};
  }
  const Stopwatch watch;
  const TeamOutput output(a.out);
  KVS_ASSIGN(const auto model, host::Model::load(a.model, a.host));
  KVS_TRY(calibrate::evaluate_texts(model, a.texts, a.options, terminal_progress()));
  const auto write = [&]() -> Result<> {
    KVS_ASSIGN(OutputFile out, OutputFile::reserve(a.out));
    return fit_and_save(a, model, std::move(out), watch);
  };
  KVS_TRY(output.write(team, write, terminal_progress()));
  end_progress();
  fmt::print("{}did {} jobs\n", rank_prefix(), team.jobs_done_here());
  return {};
}

// "4", the gradients' in GB, or "2G@8192", a live cache's.
Result<> read_memory(const std::string& text, calibrate::CalibrateOptions& o) {
  constexpr Range kGigabytes{0.001, 1e6};
  const size_t at = text.find('@');
  if (text.empty()) return {};
  if (at == std::string::npos && parse_number(text, kGigabytes, o.memory_gb)) return {};
  const auto bytes = parse_size(text.substr(0, at));
  size_t tokens = 0;
  if (at == std::string::npos || !bytes.ok() ||
      !parse_number(text.substr(at + 1), kSomeTokens, tokens)) {
    return Error{ErrorKind::usage,
                 fmt::format("--memory = '{}' is not allowed; legal: GB that gradients may take "
                             "({}), or BYTES@TOKENS like 64M@8192 for a live cache",
                             text, params_detail::allowed(kGigabytes))};
  }
  o.limit = {*bytes, tokens};
  return {};
}

Result<> run(CalibrateArguments a) {
  if (a.bits && a.options.ratio) {
    return Error{ErrorKind::usage, "--bits and --target-ratio say the same: give one"};
  }
  if (a.bits) a.options.ratio = 16 / *a.bits;
  KVS_TRY(read_memory(a.memory, a.options));
  if (a.options.threads > 0) set_thread_count(a.options.threads);
  KVS_ASSIGN(a.options.team, launched_team());
  return a.options.team.is_alone() ? run_alone(a) : run_in_team(a);
}

}  // namespace

Command calibrate_command();

Command calibrate_command() {
  return {
      "calibrate", "make a codec for a model from texts",
      [](CLI::App& app) -> std::function<Result<>()> {
        auto a = std::make_shared<CalibrateArguments>();
        auto& o = a->options;
        app.add_option("-m,--model", a->model, "model, GGUF")->required();
        app.add_option("-f,--file", a->texts, "texts of the kind the cache will hold")->required();
        app.add_option("-o,--out", a->out, "codec file to write")->required();
        app.add_option("--codec", o.pipeline,
                       fmt::format("pipeline to fit, if not {}, or what of it keeps a wide model "
                                   "within the budget",
                                   calibrate::kDefaultPipeline));
        app.add_flag("--live", o.live,
                     "make a codec for `run --cache`, which attention reads as it is");
        app.add_flag("--tune", o.tune,
                     "fit once more, with what errors do to the prediction behind a prompt that "
                     "the first fit has restored (docs/calibrate.md)");
        add_number(
            app, "--decode-budget", o.decode_budget, calibrate::kDecodeBudgets,
            fmt::format("values that a row may be predicted from: fewer restore faster, from "
                        "a smaller codec, into more bytes; {} if not given",
                        calibrate::kDecodeBudget));
        add_number(app, "-n,--tokens", o.tokens, kSomeTokens,
                   "tokens of all texts together, at most");
        add_number(app, "--sequence", o.sequence, kSomeTokens, "tokens evaluated as one sequence");
        add_number(app, "--sinks", o.sinks, kTokens, "first tokens of a sequence to leave out");
        add_number(app, "--target-ratio", o.ratio, {1, 1000},
                   "scale the step until f16 bytes / bytes is this");
        add_number(app, "--bits", a->bits, {0.1, 8}, "the same in bits a value: 16 over the ratio");
        add_number(app, "--target-kld", o.kld, {1e-6, 100},
                   "scale the step until the mean divergence above the floor is this");
        app.add_option("--memory", a->memory,
                       fmt::format("GB that gradients may take beside the model, {:.0f} if not "
                                   "given: sequences are shortened to fit; or BYTES@TOKENS, like "
                                   "64M@8192: scale the widths of a live cache until it takes no "
                                   "more at so many tokens",
                                   o.memory_gb))
            ->type_name("GB, or BYTES@TOKENS");
        app.add_option("--work", o.work,
                       "folder to keep evaluated texts in: a run that was interrupted goes on, "
                       "another codec needs them only once");
        add_context_option(app, a->host);
        add_model_options(app, a->host);
        add_threads(app, o.threads);
        return [a] { return run(*a); };
      }};
}

}  // namespace kvsplice::app
