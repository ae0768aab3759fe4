// kvsplice evaluate: codecs on a dump, without the model in the loop.
#include <fmt/format.h>

#include <filesystem>
#include <optional>

#include "command.h"
#include "core/same_cache.h"
#include "core/threads.h"
#include "host/cache_block.h"
#include "number_option.h"
#include "report/evaluate_report.h"
#include "terminal.h"

namespace kvsplice::app {

namespace {

struct EvaluateArguments {
  std::string dump, model, out;
  std::vector<std::string> codecs;
  evaluate::EvaluateOptions options;
  int threads = 0;
};

Result<report::EvaluatedCodec> evaluate_one(const std::string& path, const extract::Dump& dump,
                                            const EvaluateArguments& a,
                                            const codec::Embeddings* embeddings) {
  KVS_ASSIGN(const codec::Codec codec, codec::Codec::load(path));
  KVS_ASSIGN(auto quality,
             evaluate::evaluate(codec, path, dump, a.options, embeddings, terminal_progress()));
  return report::EvaluatedCodec{std::filesystem::path(path).stem().string(),
                                codec::print(codec.text()), std::move(quality)};
}

Result<> write(const EvaluateArguments& a, const extract::Dump& dump,
               const std::vector<report::EvaluatedCodec>& codecs, report::Results& results) {
  KVS_TRY(results.add_input(a.dump));
  for (const std::string& path : a.codecs) KVS_TRY(results.add_input(path));
  results.note("model", dump.info().shape.model_name);
  results.note("block", double(a.options.block));
  results.note("max_tokens_per_text", double(a.options.max_tokens));
  results.note("query_positions_per_text", double(a.options.queries));
  results.note("sinks", double(a.options.sinks));
  KVS_TRY(report::add_evaluation(codecs, results));
  return results.finish();
}

Result<> run(const EvaluateArguments& a) {
  if (a.threads > 0) set_thread_count(a.threads);
  KVS_ASSIGN(const auto dump, extract::Dump::open(a.dump));
  KVS_ASSIGN(auto results, report::Results::create(a.out, "evaluate", command_line()));
  KVS_TRY(report::check_drawing());
  std::optional<host::Model> model;
  codec::Embeddings embeddings;
  if (!a.model.empty()) {
    KVS_ASSIGN(model, host::Model::load(a.model));
    KVS_TRY(same_model(a.dump + " is of", dump.info().shape, a.model, model->shape()));
    embeddings = host::embeddings_of(*model);
  }
  std::vector<report::EvaluatedCodec> codecs;
  for (const std::string& path : a.codecs) {
    KVS_ASSIGN(auto one, evaluate_one(path, dump, a, model ? &embeddings : nullptr));
    codecs.push_back(std::move(one));
  }
  KVS_TRY(write(a, dump, codecs, results));
  end_progress();
  for (const auto& line : report::evaluate_findings(codecs)) fmt::print("- {}\n", line);
  fmt::print("\n{}\nresults in {}\n", report::evaluate_table(codecs).text(), a.out);
  return {};
}

}  // namespace

Command evaluate_command();

Command evaluate_command() {
  return {"evaluate", "errors, attention errors, bytes and speed of codecs on a dump",
          [](CLI::App& app) -> std::function<Result<>()> {
            auto a = std::make_shared<EvaluateArguments>();
            app.add_option("dump", a->dump, "dump to compress, not one of calibration")->required();
            app.add_option("codec", a->codecs, "codec files")->required();
            app.add_option("-o,--out", a->out, "directory for the results")->required();
            app.add_option("-m,--model", a->model, "model, for stages that read token embeddings");
            add_number(app, "--block", a->options.block, kSomeTokens, "tokens encoded at once");
            add_number(app, "--max-tokens", a->options.max_tokens, kTokens,
                       "tokens of each text to evaluate; 0: all");
            add_number(app, "--queries", a->options.queries, kSomeTokens,
                       "positions of each text whose attention is compared");
            add_number(app, "--sinks", a->options.sinks, kTokens,
                       "first tokens of each text, kept exact");
            add_threads(app, a->threads);
            return [a] { return run(*a); };
          }};
}

}  // namespace kvsplice::app
