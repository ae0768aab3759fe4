// kvsplice experiment kvsplice
#include <algorithm>

#include "experiments/experiment.h"
#include "experiments/kvsplice/outputs.h"

namespace kvsplice::experiment {

namespace {

StudyOptions quick(StudyOptions options) {
  options.spline_epochs = std::min(options.spline_epochs, 2);
  options.flow_epochs = std::min(options.flow_epochs, 2);
  options.seeds = std::min(options.seeds, 2);
  return options;
}

Result<> run(const KeyValues& pairs, const Setting& setting) {
  KVS_ASSIGN(StudyOptions options, parse_params<StudyOptions>("kvsplice", pairs));
  if (setting.quick) options = quick(options);
  KVS_ASSIGN(const auto mix, train::geometric_mix({6000, 128, 0.03, uint64_t(options.data_seed)}));
  KVS_ASSIGN(const auto warps, compare_warps(mix, options, setting.progress));
  KVS_ASSIGN(const auto numbers, compare_numbers(mix, setting.progress));
  KVS_ASSIGN(const auto rates, compare_rates(mix, options, setting.progress));
  KVS_ASSIGN(const auto memory, count_bytes(options));

  report::Results& results = setting.results;
  for (const auto& p : describe(options)) results.note(p.name, p.default_value);
  for (const auto& line : findings(options, warps, numbers, rates)) results.finding(line);
  for (const auto& table :
       {spline_table(options, warps), flow_table(options, warps), seeds_table(options, warps),
        numbers_table(numbers), rates_table(rates), memory_table(memory)}) {
    KVS_TRY(results.add(table));
  }
  for (const auto& figure :
       {compression_comparison(options, warps), improvement_delta(options, warps),
        memory_reduction(memory), architecture_diagram(mix.train.cols(), options)}) {
    KVS_TRY(results.add(figure));
  }
  return {};
}

}  // namespace

Experiment kvsplice_experiment();

Experiment kvsplice_experiment() {
  return {"kvsplice", "do learned warps before PCA beat PCA?", describe<StudyOptions>(), run};
}

}  // namespace kvsplice::experiment
