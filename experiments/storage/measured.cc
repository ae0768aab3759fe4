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

// A cache to measure; the codec is made when it is needed.
struct Task {
  std::string key;  // identifies it among all on the same text and ctx
  std::string name, method;
  double factor = 0;
  std::optional<host::CacheType> type;
  std::optional<Fit> fit;  // of the codec, if it learns
  std::function<Result<std::unique_ptr<codec::Codec>>()> codec;
};

// One text at one length of context, with the caches that are measured there.
struct Place {
  const TestText& text;
  int ctx;
  std::vector<Task> tasks;
};

Task task_of(const Ground& ground, const Cache& cache) {
  Task task;
  task.name = cache.name();
  task.method = cache.method;
  task.factor = cache.factor;
  task.type = cache.type;
  task.key = cache.text ? ground.calibrated + "/" + codec::print(*cache.text) : cache.method;
  task.fit = fit_of(ground, cache);
  task.codec = [&ground, cache] { return codec_of(ground, cache); };
  return task;
}

// Measures places and keeps what came of it.
class Measurer {
 public:
  Measurer(const Ground& ground, Journal<Measured>& journal) : ground_(ground), journal_(journal) {}

  // The codecs first, so that all processes of a team have something to fit.
  Result<> measure(const std::vector<Place>& places) {
    std::vector<Fit> fits;
    std::vector<sweep::Job> jobs;
    for (const Place& place : places) {
      for (const Task& task : missing(place, place.tasks)) {
        if (task.fit) fits.push_back(*task.fit);
      }
      for (size_t first = 0; first < place.tasks.size(); first += kTogether) {
        const std::span some =
            std::span(place.tasks).subspan(first, std::min(kTogether, place.tasks.size() - first));
        jobs.push_back({prefix_of(place) + some[0].key,
                        [this, &place, some] { return missing(place, some).empty(); },
                        [this, &place, some] { return measure(place, missing(place, some)); }});
      }
    }
    KVS_TRY(make_fits(ground_, fits));
    return ground_.team.share(ground_.dir, jobs, ground_.progress);
  }

  std::vector<Measured> rows_of(const Place& place) const {
    std::vector<Measured> rows = {*journal_.find(prefix_of(place) + "f16")};
    for (const Task& task : place.tasks) {
      rows.push_back(*journal_.find(prefix_of(place) + task.key));
    }
    return rows;
  }

 private:
  std::string prefix_of(const Place& place) const {
    return fmt::format("{}/{}/ctx{}/tokens{}/sinks{}/", ground_.model.shape().fingerprint,
                       place.text.hash, place.ctx, ground_.options.tokens, ground_.options.sinks);
  }

  std::vector<Task> missing(const Place& place, std::span<const Task> tasks) {
    std::vector<Task> some;
    for (const Task& task : tasks) {
      if (!journal_.has(prefix_of(place) + task.key)) some.push_back(task);
    }
    return some;
  }

  quality::Options options_of(const Place& place) const {
    const int tokens = std::min(ground_.options.tokens, int(place.text.tokens.size()));
    quality::Options options;
    options.n_ctx = place.ctx;
    options.chunks = std::max(1, tokens / place.ctx);
    options.sinks = ground_.options.sinks;
    options.threads = ground_.options.threads;
    return options;
  }

  // Adds tasks, and the f16 rows they are compared with, to the journal.
  Result<> measure(const Place& place, const std::vector<Task>& tasks) {
    std::vector<std::unique_ptr<codec::Codec>> codecs;
    std::vector<quality::Subject> subjects;
    for (const Task& task : tasks) {
      KVS_ASSIGN(auto codec, task.codec());
      subjects.push_back({task.name, task.type, codec.get()});
      codecs.push_back(std::move(codec));
    }
    KVS_ASSIGN(const auto outcomes, quality::measure(ground_.model, place.text.tokens, subjects,
                                                     options_of(place), ground_.progress));
    for (const auto& outcome : outcomes) {
      const auto task = std::find_if(tasks.begin(), tasks.end(),
                                     [&](const Task& t) { return t.name == outcome.cache; });
      if (task == tasks.end()) {  // a base
        KVS_TRY(journal_.add(prefix_of(place) + outcome.cache,
                             {place.text.name, place.ctx, "f16", 0, 0, outcome}));
        continue;
      }
      const auto& codec = codecs[size_t(task - tasks.begin())];
      const size_t tokens = codec ? codec->calibration_tokens() : 0;
      KVS_TRY(journal_.add(prefix_of(place) + task->key, {place.text.name, place.ctx, task->method,
                                                          task->factor, tokens, outcome}));
    }
    return {};
  }

  const Ground& ground_;
  Journal<Measured>& journal_;
};

}  // namespace

Result<std::vector<Measured>> measure_rates(const Ground& ground,
                                            const std::vector<TestText>& texts) {
  KVS_ASSIGN(auto journal, Journal<Measured>::open(ground.dir / "rates.jsonl"));
  KVS_ASSIGN(const auto caches, loop_caches(ground.options, ground.model.shape()));
  std::vector<Place> places;
  for (int ctx : ground.options.ctx) {
    std::vector<Task> tasks;
    for (const Cache& cache : caches) {
      // Networks are trained on every block, longer the longer it is.
      const bool trains = cache.method.starts_with("siren");
      if (!trains || ctx == ground.options.ctx.front()) tasks.push_back(task_of(ground, cache));
    }
    for (const TestText& text : texts) places.push_back({text, ctx, tasks});
  }
  Measurer measurer(ground, journal);
  KVS_TRY(measurer.measure(places));
  std::vector<Measured> all;
  for (const Place& place : places) {
    const auto rows = measurer.rows_of(place);
    all.insert(all.end(), rows.begin(), rows.end());
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

Result<codec::Codec> fit_part(const Ground& ground, const Part& part) {
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
  options.team = ground.team;
  KVS_ASSIGN(const auto data,
             calibrate::CalibrationData::gather(ground.model, sequences, codec::traits_of(text),
                                                options, ground.progress));
  const codec::Embeddings embeddings = host::embeddings_of(ground.model);
  return codec::fit_codec(text, ground.model.shape(), data.source(), &embeddings, ground.progress);
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
    const Fit fit{task.key, [&ground, part] { return fit_part(ground, part); }};
    task.fit = fit;
    task.codec = [&ground, fit] { return fitted(ground, fit); };
    tasks.push_back(std::move(task));
  }
  std::vector<Place> places;
  for (const TestText& text : texts) places.push_back({text, ground.options.ctx.front(), tasks});
  Measurer measurer(ground, journal);
  KVS_TRY(measurer.measure(places));
  std::vector<Measured> all;
  for (const Place& place : places) {
    const auto rows = measurer.rows_of(place);
    all.insert(all.end(), rows.begin() + 1, rows.end());  // without f16
  }
  return all;
}

}  // namespace kvsplice::experiment::storage
