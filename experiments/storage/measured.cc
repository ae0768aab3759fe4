#include "experiments/storage/measured.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>

#include "calibrate/calibration_data.h"
#include "calibrate/calibration_rows.h"
#include "fit/dump_source.h"
#include "fit/fit_codec.h"
#include "host/cache_block.h"

namespace kvsplice::experiment::storage {

namespace {

constexpr size_t kTogether = 5;  // caches that share an evaluation of their f16 base

int chunks_of(const Ground& ground, const TestText& text, int ctx) {
  const int tokens = std::min(ground.options.tokens, int(text.tokens.size()));
  return std::max(1, tokens / ctx);
}

Task task_of(const Ground& ground, const Cache& cache) {
  Task task;
  task.name = cache.name();
  task.method = cache.method;
  task.factor = cache.factor;
  task.type = cache.type;
  task.key = cache.text ? ground.calibrated + "/" + codec::print(*cache.text) : cache.method;
  task.codec = [&ground, cache] { return codec_of(ground, cache); };
  return task;
}

std::string prefix_of(const Ground& ground, const TestText& text, int ctx) {
  return fmt::format("{}/{}/ctx{}/tokens{}/sinks{}/", ground.model.shape().fingerprint, text.hash,
                     ctx, ground.options.tokens, ground.options.sinks);
}

// Measures some tasks and adds them, and the f16 rows they are compared with, to the journal.
Result<> measure_some(const Ground& ground, const TestText& text, int ctx,
                      const std::vector<Task>& tasks, Journal<Measured>& journal) {
  std::vector<std::unique_ptr<codec::Codec>> codecs;
  std::vector<quality::Subject> subjects;
  for (const Task& task : tasks) {
    KVS_ASSIGN(auto codec, task.codec());
    subjects.push_back({task.name, task.type, codec.get()});
    codecs.push_back(std::move(codec));
  }
  quality::Options options;
  options.n_ctx = ctx;
  options.chunks = chunks_of(ground, text, ctx);
  options.sinks = ground.options.sinks;
  options.threads = ground.options.threads;
  KVS_ASSIGN(const auto outcomes,
             quality::measure(ground.model, text.tokens, subjects, options, ground.progress));
  const std::string prefix = prefix_of(ground, text, ctx);
  for (const auto& outcome : outcomes) {
    const auto task = std::find_if(tasks.begin(), tasks.end(),
                                   [&](const Task& t) { return t.name == outcome.cache; });
    if (task == tasks.end()) {  // a base
      KVS_TRY(journal.add(prefix + outcome.cache, {text.name, ctx, "f16", 0, 0, outcome}));
      continue;
    }
    const auto& codec = codecs[size_t(task - tasks.begin())];
    const size_t fitted = codec ? codec->calibration_tokens() : 0;
    KVS_TRY(journal.add(prefix + task->key,
                        {text.name, ctx, task->method, task->factor, fitted, outcome}));
  }
  return {};
}

}  // namespace

Result<std::vector<Measured>> measure_tasks(const Ground& ground, const TestText& text, int ctx,
                                            const std::vector<Task>& tasks,
                                            Journal<Measured>& journal) {
  const std::string prefix = prefix_of(ground, text, ctx);
  std::vector<Task> some;
  for (size_t i = 0; i < tasks.size(); ++i) {
    if (journal.find(prefix + tasks[i].key) == nullptr) some.push_back(tasks[i]);
    if (some.empty() || (some.size() < kTogether && i + 1 < tasks.size())) continue;
    KVS_TRY(measure_some(ground, text, ctx, some, journal));
    some.clear();
  }
  std::vector<Measured> rows;
  const Measured* base = journal.find(prefix + "f16");
  if (base != nullptr) rows.push_back(*base);
  for (const Task& task : tasks) rows.push_back(*journal.find(prefix + task.key));
  return rows;
}

Result<std::vector<Measured>> measure_rates(const Ground& ground,
                                            const std::vector<TestText>& texts) {
  KVS_ASSIGN(auto journal, Journal<Measured>::open(ground.dir / "rates.jsonl"));
  KVS_ASSIGN(const auto caches, loop_caches(ground.options, ground.model.shape()));
  std::vector<Measured> all;
  for (int ctx : ground.options.ctx) {
    std::vector<Task> tasks;
    for (const Cache& cache : caches) {
      // Networks are trained on every block, longer the longer it is.
      const bool trains = cache.method.starts_with("siren");
      if (!trains || ctx == ground.options.ctx.front()) tasks.push_back(task_of(ground, cache));
    }
    for (const TestText& text : texts) {
      KVS_ASSIGN(const auto rows, measure_tasks(ground, text, ctx, tasks, journal));
      all.insert(all.end(), rows.begin(), rows.end());
    }
  }
  return all;
}

namespace {

// Which sequences of the calibration a fit uses.
struct Part {
  std::string name;
  std::function<bool(size_t text, size_t turn)> use;  // text by number, its sequences by number
};

std::vector<Part> parts_of(const Options& o, const std::vector<std::string>& texts) {
  const size_t turns = size_t(o.calibration) / texts.size() / size_t(o.sequence);
  std::vector<Part> parts;
  for (size_t share : {8, 4, 2, 1}) {
    if (share > std::max<size_t>(1, turns)) continue;
    parts.push_back({share > 1 ? fmt::format("1/{} of all", share) : "all",
                     [share](size_t, size_t turn) { return turn % share == 0; }});
  }
  for (size_t i = 0; i < texts.size(); ++i) {
    parts.push_back({fmt::format("only {}", std::filesystem::path(texts[i]).stem().string()),
                     [i](size_t text, size_t) { return text == i; }});
  }
  return parts;
}

Result<std::unique_ptr<codec::Codec>> fit_part(const Ground& ground, const Part& part) {
  const Options& o = ground.options;
  const auto texts = ground.texts();
  KVS_ASSIGN(
      const calibrate::Spread spread,
      calibrate::spread_sequences(ground.model, texts, size_t(o.calibration), size_t(o.sequence)));
  const auto& sequences = spread.sequences;
  std::vector<bool> used;
  std::map<std::string, std::pair<size_t, size_t>> seen;  // text: its number, its sequences so far
  for (const auto& sequence : sequences) {
    auto& [text, turn] = seen.try_emplace(sequence.hash, seen.size(), 0).first->second;
    used.push_back(part.use(text, turn++));
  }
  KVS_ASSIGN(const auto text, codec_text(o));
  calibrate::GatherOptions options{size_t(o.sinks), ground.work(), o.threads};
  options.use = [&](size_t i) { return bool(used[i]); };
  KVS_ASSIGN(const auto data,
             calibrate::CalibrationData::gather(ground.model, sequences, codec::traits_of(text),
                                                options, ground.progress));
  const codec::Embeddings embeddings = host::embeddings_of(ground.model);
  KVS_ASSIGN(codec::Codec codec, codec::fit_codec(text, ground.model.shape(), data.source(),
                                                  &embeddings, ground.progress));
  return std::make_unique<codec::Codec>(std::move(codec));
}

}  // namespace

Result<std::vector<Measured>> measure_calibration(const Ground& ground,
                                                  const std::vector<TestText>& texts) {
  KVS_ASSIGN(auto journal, Journal<Measured>::open(ground.dir / "calibration.jsonl"));
  std::vector<Task> tasks;
  for (const Part& part : parts_of(ground.options, ground.texts())) {
    Task task;
    task.name = task.method = part.name;
    task.key = fmt::format("{}/{}/{}", ground.calibrated, ground.options.codec, part.name);
    task.codec = [&ground, part] { return fit_part(ground, part); };
    tasks.push_back(std::move(task));
  }
  std::vector<Measured> all;
  for (const TestText& text : texts) {
    KVS_ASSIGN(const auto rows,
               measure_tasks(ground, text, ground.options.ctx.front(), tasks, journal));
    all.insert(all.end(), rows.begin() + 1, rows.end());  // without f16
  }
  return all;
}

}  // namespace kvsplice::experiment::storage
