// kvsplice experiment kvsplice
#include <algorithm>
#include <filesystem>

#include "core/temporary_folder.h"
#include "experiments/experiment.h"
#include "experiments/kvsplice/outputs.h"
#include "report/quality_report.h"

namespace kvsplice::experiment {

namespace {

StudyOptions quick(StudyOptions options) {
  options.spline_epochs = std::min(options.spline_epochs, 2);
  options.flow_epochs = std::min(options.flow_epochs, 2);
  options.loop_flow_epochs = std::min(options.loop_flow_epochs, 1);
  options.seeds = std::min(options.seeds, 2);
  options.tokens = std::min(options.tokens, 512);
  options.loop_ctx = std::min(options.loop_ctx, 256);
  options.loop_chunks = std::min(options.loop_chunks, 1);
  return options;
}

Result<> study_mix(const train::GeometricMix& mix, const StudyOptions& options,
                   const Progress& progress, Study& study) {
  KVS_ASSIGN(study.warps, compare_warps(mix, options, progress));
  KVS_ASSIGN(study.own_ranks, compare_own_ranks(mix, options, progress));
  KVS_ASSIGN(study.numbers, compare_numbers(mix, progress));
  KVS_ASSIGN(study.rates, compare_rates("GeometricMix", mix.train, mix.test, options, progress));
  KVS_ASSIGN(study.memory, count_bytes());
  const IdeaData data{"GeometricMix", mix.train, mix.test, 2, 8, {}};
  KVS_ASSIGN(study.ideas, try_ideas(data, options, progress));
  return {};
}

// Rates and ideas on the last of the chosen layers, all heads side by side.
Result<> study_layer(const Caches& caches, host::Signal signal, const StudyOptions& options,
                     const Progress& progress, Study& study) {
  const Place place{signal, caches.layers().back()};
  IdeaData data;
  data.name = host::name(signal);
  KVS_ASSIGN(data.train, caches.train(place));
  KVS_ASSIGN(data.test, caches.test(place));
  data.heads = caches.heads(place.layer);
  data.rank = data.train.cols() / 4;
  data.attention_error = [&](MatrixView<const float> rows) {
    return caches.attention_error(place, rows);
  };
  KVS_ASSIGN(const auto rates, compare_rates(data.name, data.train, data.test, options, progress));
  study.rates.insert(study.rates.end(), rates.begin(), rates.end());
  KVS_ASSIGN(const auto ideas, try_ideas(data, options, progress));
  study.ideas.insert(study.ideas.end(), ideas.begin(), ideas.end());
  return {};
}

Result<> study_model(const StudyOptions& options, const Setting& setting, Study& study) {
  // Dumps are large and quickly made again: they go when the study ends, however it ends.
  KVS_ASSIGN(const TemporaryFolder dumps, TemporaryFolder::create("dumps", setting.results.dir()));
  KVS_ASSIGN(const auto model, host::Model::load(setting.model));
  KVS_ASSIGN(const auto caches, Caches::extract(model, options, dumps.path(), setting.progress));
  KVS_ASSIGN(study.caches, compare_caches(caches, options, setting.progress));
  for (host::Signal signal : kCacheSignals) {
    KVS_TRY(study_layer(caches, signal, options, setting.progress, study));
  }
  if (options.loop_chunks > 0) {
    KVS_ASSIGN(study.loop, compare_in_loop(model, caches, options, setting.progress));
  }
  return {};
}

Result<> write(const StudyOptions& options, const Study& study, size_t dim,
               report::Results& results) {
  for (const auto& p : describe(options)) results.note(p.name, p.default_value);
  for (const auto& line : findings(options, study)) results.finding(line);
  std::vector<report::Table> tables = {spline_table(options, study.warps),
                                       flow_table(options, study.warps),
                                       seeds_table(options, study.warps),
                                       trainings_table(options, study.warps),
                                       own_ranks_table(study.own_ranks),
                                       numbers_table(study.numbers),
                                       rates_table(study.rates),
                                       memory_table(study.memory),
                                       ideas_table(study.ideas)};
  if (!study.caches.empty()) tables.push_back(caches_table(study.caches));
  if (!study.loop.empty()) tables.push_back(report::quality_table(study.loop));
  for (const auto& table : tables) KVS_TRY(results.add(table));
  for (const auto& figure :
       {compression_comparison(options, study.warps), improvement_delta(options, study.warps),
        own_ranks_figure(study.own_ranks), memory_reduction(study.memory),
        architecture_diagram(dim, options)}) {
    KVS_TRY(results.add(figure));
  }
  return {};
}

Result<StudyOptions> parse(const KeyValues& pairs) {
  return parse_params<StudyOptions>("kvsplice", pairs);
}

Result<> check(const KeyValues& pairs) {
  KVS_TRY(parse(pairs));
  return {};
}

Result<> run(const KeyValues& pairs, const Setting& setting) {
  KVS_ASSIGN(StudyOptions options, parse(pairs));
  if (setting.quick) options = quick(options);
  KVS_ASSIGN(const auto mix, train::geometric_mix({6000, 128, 0.03, uint64_t(options.data_seed)}));
  Study study;
  KVS_TRY(study_mix(mix, options, setting.progress, study));
  if (!setting.model.empty()) KVS_TRY(study_model(options, setting, study));
  return write(options, study, mix.train.cols(), setting.results);
}

}  // namespace

Experiment kvsplice_experiment();

Experiment kvsplice_experiment() {
  return {"kvsplice", "do learned warps before PCA beat PCA?", describe<StudyOptions>(), check,
          run};
}

}  // namespace kvsplice::experiment
