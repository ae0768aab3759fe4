// kvsplice experiment storage: how small can a stored cache be at which quality?
#include "core/threads.h"
#include "experiments/experiment.h"
#include "experiments/storage/outputs.h"

namespace kvsplice::experiment {

namespace {

using namespace storage;

Result<> write(const Study& study, report::Results& results) {
  for (const auto& p : describe(study.options)) results.note(p.name, p.default_value);
  for (const auto& path : split(study.options.text)) KVS_TRY(results.add_input(path));
  for (const auto& path : split(study.options.test_text)) KVS_TRY(results.add_input(path));
  for (const auto& line : findings(study)) results.finding(line);
  for (const auto& table : tables(study)) KVS_TRY(results.add(table));
  for (const auto& figure : figures(study)) KVS_TRY(results.add(figure));
  return {};
}

Result<Options> parse(const KeyValues& pairs, bool quick) {
  KVS_ASSIGN(Options options, parse_params<Options>("storage", pairs));
  if (quick) options = storage::quick(options);
  KVS_TRY(check(options));
  return options;
}

Result<> check_values(const KeyValues& pairs) {
  KVS_TRY(parse(pairs, false));
  return {};
}

Result<Write> measure(const KeyValues& pairs, const Setting& setting) {
  KVS_ASSIGN(Options options, parse(pairs, setting.quick));
  if (setting.model.empty()) return Error{ErrorKind::usage, "this study needs a model: -m M.gguf"};
  if (options.threads > 0) set_thread_count(options.threads);
  KVS_ASSIGN(const auto model, host::Model::load(setting.model));
  KVS_ASSIGN(const Ground ground, open_ground(model, options, setting));
  KVS_ASSIGN(const auto texts, read_tests(ground));
  Study study{options, double(model.shape().f16_bytes_per_token()), {}, {}, {}, {}};
  if (options.wants("rates")) {
    KVS_ASSIGN(study.rates, measure_rates(ground, texts));
  }
  if (options.wants("retrieval")) {
    KVS_ASSIGN(study.retrieval, measure_retrieval(ground));
  }
  if (options.wants("greedy")) {
    KVS_ASSIGN(study.greedy, measure_greedy(ground, texts));
  }
  if (options.wants("calibration")) {
    KVS_ASSIGN(study.calibration, measure_calibration(ground, texts));
  }
  return Write([study](report::Results& results) { return write(study, results); });
}

}  // namespace

Experiment storage_experiment();

Experiment storage_experiment() {
  return {"storage", "how small is a stored cache at which quality?", describe<Options>(),
          check_values, measure};
}

}  // namespace kvsplice::experiment
