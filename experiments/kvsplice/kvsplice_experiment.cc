// kvsplice experiment kvsplice
#include <fmt/format.h>

#include <algorithm>

#include "core/file_hash.h"
#include "core/temporary_folder.h"
#include "experiments/experiment.h"
#include "experiments/kvsplice/outputs.h"
#include "experiments/lists.h"
#include "experiments/text_hash.h"
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

// All values of the options, though not every number depends on every one.
std::string identity_of(const StudyOptions& options) {
  std::string all;
  for (const auto& p : describe(options)) all += fmt::format("{}={} ", p.name, p.default_value);
  return hash_of(all);
}

Result<std::string> identity_of(const StudyOptions& options, const host::Model& model) {
  std::string all = identity_of(options) + model.shape().fingerprint;
  for (const auto& path : split(options.text + "," + options.test_text)) {
    KVS_ASSIGN(const FileHash file, hash_file(path));
    all += file.hash;
  }
  return hash_of(all);
}

Result<> study_mix(const train::GeometricMix& mix, const StudyOptions& options,
                   const Setting& setting, Study& study) {
  KVS_ASSIGN(Kept kept, Kept::open(setting, identity_of(options)));
  const IdeaData data{"GeometricMix", mix.train, mix.test, 2, 8, {}};
  plan_warps(mix, options, kept);
  plan_own_ranks(mix, options, kept);
  plan_numbers(mix, kept);
  plan_rates(data.name, mix.train, mix.test, options, kept);
  plan_ideas(data, options, kept);
  KVS_TRY(kept.compute());
  study.warps = warps_of(options, kept);
  study.own_ranks = own_ranks_of(mix, kept);
  study.numbers = numbers_of(kept);
  study.rates = rates_of(data.name, kept);
  study.ideas = ideas_of(data, options, kept);
  return {};
}

// The last of the chosen layers, all heads side by side.
Result<IdeaData> layer_data(const Caches& caches, host::Signal signal) {
  const Place place{signal, caches.layers().back()};
  IdeaData data;
  data.name = host::name(signal);
  KVS_ASSIGN(data.train, caches.train(place));
  KVS_ASSIGN(data.test, caches.test(place));
  data.heads = caches.heads(place.layer);
  data.rank = data.train.cols() / 4;
  data.attention_error = [&caches, place](MatrixView<const float> rows) {
    return caches.attention_error(place, rows);
  };
  return data;
}

template <class T>
void append(const std::vector<T>& more, std::vector<T>& all) {
  all.insert(all.end(), more.begin(), more.end());
}

Result<> study_caches(const Caches& caches, const StudyOptions& options, Kept& kept, Study& study) {
  std::vector<IdeaData> layers;
  for (host::Signal signal : kCacheSignals) {
    KVS_ASSIGN(IdeaData data, layer_data(caches, signal));
    layers.push_back(std::move(data));
  }
  plan_caches(caches, options, kept);
  for (const IdeaData& data : layers) {
    plan_rates(data.name, data.train, data.test, options, kept);
    plan_ideas(data, options, kept);
  }
  KVS_TRY(kept.compute());
  KVS_ASSIGN(study.caches, caches_of(caches, kept));
  for (const IdeaData& data : layers) {
    append(rates_of(data.name, kept), study.rates);
    append(ideas_of(data, options, kept), study.ideas);
  }
  return {};
}

Result<> study_model(const StudyOptions& options, const Setting& setting, Study& study) {
  // Dumps are large and quickly made again, by every process of a team for itself: they go when the
  // study ends, however it ends.
  KVS_ASSIGN(const TemporaryFolder dumps, TemporaryFolder::create("dumps", setting.dir));
  KVS_ASSIGN(const auto model, host::Model::load(setting.model));
  KVS_ASSIGN(const auto caches, Caches::extract(model, options, dumps.path(), setting.progress));
  KVS_ASSIGN(const std::string identity, identity_of(options, model));
  KVS_ASSIGN(Kept kept, Kept::open(setting, identity));
  KVS_TRY(study_caches(caches, options, kept, study));
  if (options.loop_chunks > 0) {
    KVS_ASSIGN(study.loop, compare_in_loop(model, caches, options, setting, identity));
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

Result<Write> measure(const KeyValues& pairs, const Setting& setting) {
  KVS_ASSIGN(StudyOptions options, parse(pairs));
  if (setting.quick) options = quick(options);
  KVS_ASSIGN(const auto mix, train::geometric_mix({6000, 128, 0.03, uint64_t(options.data_seed)}));
  Study study;
  KVS_TRY(study_mix(mix, options, setting, study));
  if (!setting.model.empty()) KVS_TRY(study_model(options, setting, study));
  KVS_ASSIGN(study.memory, count_bytes());
  return Write([options, study, dim = mix.train.cols()](report::Results& results) {
    return write(options, study, dim, results);
  });
}

}  // namespace

Experiment kvsplice_experiment();

Experiment kvsplice_experiment() {
  return {"kvsplice", "do learned warps before PCA beat PCA?", describe<StudyOptions>(), check,
          measure};
}

}  // namespace kvsplice::experiment
