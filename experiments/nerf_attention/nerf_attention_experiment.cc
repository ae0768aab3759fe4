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

// What is not shared, because it is soon done or tells of one machine.
Result<> add_the_rest(Study& study, const Setting& setting) {
  if (study.options.wants("sweep")) {
    KVS_ASSIGN(study.svd, svd_baselines(study.sources, setting.progress));
    KVS_ASSIGN(study.closed, closed_forms(study.sources, setting.progress));
  }
  if (study.options.wants("latency")) {
    const ModelShape& shape = study.sources.main->info().shape;
    study.latency =
        measure_latency(shape.layers[0], shape.query_heads_of(0), study.sources.main->tokens(),
                        study.options.networks(), setting.quick);
  }
  return {};
}

Result<> write(Study& study, const Setting& setting, report::Results& results) {
  KVS_ASSIGN(const auto analysis, analyse_main(study, setting.progress));
  KVS_TRY(add_the_rest(study, setting));
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

Result<Write> measure(const KeyValues& pairs, const Setting& setting) {
  KVS_ASSIGN(Options options, parse(pairs));
  if (setting.quick) options = quick(options);
  if (options.threads > 0) set_thread_count(options.threads);
  KVS_ASSIGN(Sources sources, open_sources(options, setting));
  KVS_ASSIGN(Fits journal, Fits::open(setting.dir / "fits.jsonl"));
  Jobs jobs = plan_jobs(sources, options, setting.quick);
  const auto study = std::make_shared<Study>(
      Study{options, std::move(sources), std::move(jobs), std::move(journal), {}, {}, {}, {}});
  KVS_ASSIGN(study->loop, judge_in_loop(study->sources, options, setting));
  KVS_TRY(run_fits(study->jobs.all(), options, setting, study->journal));
  return Write(
      [study, setting](report::Results& results) { return write(*study, setting, results); });
}

}  // namespace

Experiment nerf_attention_experiment();

Experiment nerf_attention_experiment() {
  return {"nerf-attention", "can keys and values be computed from the position?",
          describe<Options>(), check_values, measure};
}

}  // namespace kvsplice::experiment
