// kvsplice experiment train: does it help to train a model with a small cache?
#include "core/threads.h"
#include "experiments/experiment.h"
#include "experiments/train/study.h"

namespace kvsplice::experiment {

namespace {

using namespace train;

Result<Options> parse(const KeyValues& pairs, bool quickly) {
  KVS_ASSIGN(Options options, parse_params<Options>("train", pairs));
  if (quickly) options = train::quick(options);
  KVS_TRY(check(options));
  return options;
}

Result<> check_values(const KeyValues& pairs) {
  KVS_TRY(parse(pairs, false));
  return {};
}

Result<> write(const Study& study, size_t available, report::Results& results) {
  for (const auto& p : describe(study.options)) results.note(p.name, p.default_value);
  results.note("training_tokens_available", double(available));
  for (const auto& path : split(study.options.text)) KVS_TRY(results.add_input(path));
  for (const auto& path : split(study.options.test_text)) KVS_TRY(results.add_input(path));
  for (const auto& line : findings(study)) results.finding(line);
  for (const auto& table : tables(study)) KVS_TRY(results.add(table));
  for (const auto& figure : figures(study)) KVS_TRY(results.add(figure));
  return {};
}

Result<Write> measure(const KeyValues& pairs, const Setting& setting) {
  KVS_ASSIGN(const Options options, parse(pairs, setting.quick));
  if (setting.model.empty()) {
    return Error{ErrorKind::usage, "this study needs a model for its vocabulary: -m M.gguf"};
  }
  if (options.threads > 0) set_thread_count(options.threads);
  KVS_ASSIGN(const Ground ground, open_ground(options, setting));
  Study study;
  study.options = options;
  KVS_ASSIGN(study.variants, variants_of(options));
  for (const JudgedText& text : ground.judged) study.texts.push_back(text.name);
  KVS_ASSIGN(study.found, measure_all(ground));
  return Write([study, available = ground.training.size()](report::Results& results) {
    return write(study, available, results);
  });
}

}  // namespace

Experiment train_experiment();

Experiment train_experiment() {
  return {"train", "does it help to train a model with a small cache?", describe<Options>(),
          check_values, measure};
}

}  // namespace kvsplice::experiment
