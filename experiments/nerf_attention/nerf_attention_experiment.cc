// kvsplice experiment nerf-attention: can a KV cache be computed from the position?
#include "analyse/analysis.h"
#include "core/threads.h"
#include "experiments/experiment.h"
#include "experiments/nerf_attention/study.h"
#include "report/analysis_report.h"

namespace kvsplice::experiment {

namespace {

using namespace nerf;

Result<analyse::Analysis> analyse_main(const Study& study, const Progress& progress) {
  analyse::AnalyseOptions options;
  options.layers = study.sources.places.sweep_layers;
  return analyse::analyse(study.sources.main->dump(), options, progress);
}

Result<> write(const Study& study, const analyse::Analysis& analysis, const Setting& setting) {
  report::Results& results = setting.results;
  for (const auto& p : describe(study.options)) results.note(p.name, p.default_value);
  results.note("data", study.sources.synthetic ? "generated" : "model");
  if (study.options.wants("latency")) {
    results.note("read_gb_per_s", study.latency.read_gb_per_s);
    results.note("fma_gflop_per_s", study.latency.fma_gflop_per_s);
  }
  for (const auto& line : findings(study)) results.finding(line);
  for (const auto& table : tables(study)) KVS_TRY(results.add(table));
  for (const auto& figure : figures(study)) KVS_TRY(results.add(figure));
  return report::add_analysis(analysis, results);
}

Result<Options> parse(const KeyValues& pairs) {
  KVS_ASSIGN(const Options options, parse_params<Options>("nerf-attention", pairs));
  KVS_TRY(check(options));
  return options;
}

Result<> check_values(const KeyValues& pairs) {
  KVS_TRY(parse(pairs));
  return {};
}

Result<> run(const KeyValues& pairs, const Setting& setting) {
  KVS_ASSIGN(Options options, parse(pairs));
  if (setting.quick) options = quick(options);
  if (options.threads > 0) set_thread_count(options.threads);
  const auto& dir = setting.results.dir();
  KVS_ASSIGN(Sources sources, open_sources(options, setting.model, dir, setting.progress));
  KVS_ASSIGN(Fits journal, Fits::open(dir / "fits.jsonl"));
  Jobs jobs = plan_jobs(sources, options, setting.quick);
  Study study{options, std::move(sources), std::move(jobs), std::move(journal), {}, {}, {}, {}};
  KVS_ASSIGN(const auto analysis, analyse_main(study, setting.progress));
  if (options.wants("sweep")) {
    KVS_ASSIGN(study.svd, svd_baselines(study.sources, setting.progress));
    KVS_ASSIGN(study.closed, closed_forms(study.sources, setting.progress));
  }
  const ModelShape& shape = study.sources.main->info().shape;
  if (options.wants("latency")) {
    study.latency =
        measure_latency(shape.layers[0], shape.query_heads_of(0), study.sources.main->tokens(),
                        options.networks(), setting.quick);
  }
  KVS_ASSIGN(study.loop, judge_in_loop(study.sources, options, dir, setting.progress));
  KVS_TRY(run_fits(study.jobs.all(), options, study.journal, setting.progress));
  return write(study, analysis, setting);
}

}  // namespace

Experiment nerf_attention_experiment();

Experiment nerf_attention_experiment() {
  return {"nerf-attention", "can keys and values be computed from the position?",
          describe<Options>(), check_values, run};
}

}  // namespace kvsplice::experiment
