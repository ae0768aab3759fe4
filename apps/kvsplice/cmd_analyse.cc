// kvsplice analyse: the statistics of a dump.
#include <fmt/format.h>

#include "command.h"
#include "core/threads.h"
#include "number_option.h"
#include "report/analysis_report.h"
#include "terminal.h"

namespace kvsplice::app {

namespace {

struct AnalyseArguments {
  std::string dump, out;
  analyse::AnalyseOptions options;
  int threads = 0;
};

Result<> run(const AnalyseArguments& a) {
  if (a.threads > 0) set_thread_count(a.threads);
  KVS_ASSIGN(const auto dump, extract::Dump::open(a.dump));
  KVS_ASSIGN(auto results, report::Results::create(a.out, "analyse", command_line()));
  KVS_TRY(report::check_drawing());
  KVS_ASSIGN(const auto analysis, analyse::analyse(dump, a.options, terminal_progress()));
  KVS_TRY(results.add_input(a.dump));
  results.note("model", dump.info().shape.model_name);
  results.note("seed_subset", a.options.seed_subset ? "yes" : "no");
  KVS_TRY(report::add_analysis(analysis, results));
  KVS_TRY(results.finish());
  end_progress();
  fmt::print("{}\n{}\n", report::analysis_summary_table(analysis).text(),
             report::analysis_scopes_table(analysis).text());
  for (const auto& line : report::analysis_findings(analysis)) fmt::print("- {}\n", line);
  fmt::print("\nresults in {}\n", a.out);
  return {};
}

}  // namespace

Command analyse_command();

Command analyse_command() {
  return {"analyse", "statistics of a dump, and what they suggest for a codec",
          [](CLI::App& app) -> std::function<Result<>()> {
            auto a = std::make_shared<AnalyseArguments>();
            app.add_option("dump", a->dump, "dump to analyse")->required();
            app.add_option("-o,--out", a->out, "directory for the results")->required();
            auto* layers =
                add_numbers(app, "--layers", a->options.layers, "layers to analyse (default: all)");
            app.add_flag("--seed-subset", a->options.seed_subset,
                         "what the NeRF-Attention study analysed: layers 0, L/4, L/2, 3L/4, L-1 "
                         "and at most four heads")
                ->excludes(layers);
            add_threads(app, a->threads);
            return [a] { return run(*a); };
          }};
}

}  // namespace kvsplice::app
