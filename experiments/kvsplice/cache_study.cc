#include "experiments/kvsplice/cache_study.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <concepts>

#include "core/file.h"
#include "experiments/outcome.h"
#include "fit/dump_source.h"
#include "fit/fit_codec.h"
#include "linalg/linalg.h"

namespace kvsplice::experiment {

namespace {

// Training rank and test ranks of a unit, in parts of its columns: 16 and 8, 16, 32 of 64.
constexpr size_t kTrainPart = 4, kTestParts[] = {8, 4, 2};

std::vector<Place> places_of(const Caches& caches, host::Signal signal, bool by_head) {
  std::vector<Place> places;
  for (int layer : caches.layers()) {
    const int heads = int(caches.heads(layer));
    if (!by_head) places.push_back({signal, layer});
    for (int head = 0; by_head && head < heads; ++head) places.push_back({signal, layer, head});
  }
  return places;
}

size_t rank_of(size_t columns, size_t part) { return std::max<size_t>(1, columns / part); }

std::string name_of(const Place& place) {
  const std::string head = place.head == Place::kAllHeads ? "all" : std::to_string(place.head);
  return fmt::format("warps on real caches: {}, layer {}, head {}", host::name(place.signal),
                     place.layer, head);
}

// Error and attention error of one unit, in the order of rows_of.
Result<std::vector<double>> errors_of(const Caches& caches, const Place& place,
                                      const StudyOptions& options) {
  KVS_ASSIGN(const Matrix<float> train, caches.train(place));
  KVS_ASSIGN(const Matrix<float> test, caches.test(place));
  const double rms = rms_about_mean(test);
  std::vector<double> errors(2 * std::size(kTestParts) * std::size(kWarps));
  for (Warp warp : kWarps) {
    KVS_ASSIGN(auto map, train_warp(warp, train, rank_of(train.cols(), kTrainPart), options, 0));
    KVS_ASSIGN(const auto coder, WarpedPca::fit(std::move(map), train, train.cols()));
    for (size_t i = 0; i < std::size(kTestParts); ++i) {
      const Matrix<float> back = coder.through(rank_of(train.cols(), kTestParts[i]), test);
      const size_t at = 2 * (i * std::size(kWarps) + size_t(warp));
      errors[at] = std::sqrt(train::mean_squared_error(back, test)) / rms;
      KVS_ASSIGN(errors[at + 1], caches.attention_error(place, back));
    }
  }
  return errors;
}

// Adds one unit's errors to rows.
void add_unit(const std::vector<double>& errors, std::vector<CacheRow>& rows) {
  for (size_t i = 0; i < rows.size(); ++i) {
    const size_t plain = i - i % std::size(kWarps);
    rows[i].error += errors[2 * i] / double(rows[i].units);
    rows[i].attention_error += errors[2 * i + 1] / double(rows[i].units);
    rows[i].better += errors[2 * i] < errors[2 * plain];
  }
}

// Empty rows of one signal and scope, by part, then warp.
std::vector<CacheRow> rows_of(host::Signal signal, bool by_head, size_t columns, size_t units) {
  std::vector<CacheRow> rows;
  for (size_t part : kTestParts) {
    for (Warp warp : kWarps) {
      rows.push_back({host::name(signal), by_head ? "head" : "layer", rank_of(columns, part),
                      columns, name(warp), 0, 0, 0, units});
    }
  }
  return rows;
}

}  // namespace

void plan_caches(const Caches& caches, const StudyOptions& options, Kept& kept) {
  for (host::Signal signal : kCacheSignals) {
    for (bool by_head : {true, false}) {
      for (const Place& place : places_of(caches, signal, by_head)) {
        kept.want(name_of(place), [&, place] { return errors_of(caches, place, options); });
      }
    }
  }
}

Result<std::vector<CacheRow>> caches_of(const Caches& caches, const Kept& kept) {
  std::vector<CacheRow> all;
  for (host::Signal signal : kCacheSignals) {
    for (bool by_head : {true, false}) {
      const auto places = places_of(caches, signal, by_head);
      KVS_ASSIGN(const Matrix<float> some, caches.test(places[0]));
      auto rows = rows_of(signal, by_head, some.cols(), places.size());
      for (const Place& place : places) add_unit(kept.of(name_of(place)), rows);
      all.insert(all.end(), rows.begin(), rows.end());
    }
  }
  return all;
}

namespace {

size_t least_width(const ModelShape& shape) {
  size_t width = SIZE_MAX;
  for (const auto& layer : shape.layers) {
    width = std::min({width, size_t(layer.width(Kind::key)), size_t(layer.width(Kind::value))});
  }
  return width;
}

std::vector<std::string> loop_pipelines(const StudyOptions& options, size_t width) {
  const std::string half = fmt::format("klt(rank={})", width / 2);
  const std::string spline =
      fmt::format("spline(epochs={},rank={})", options.spline_epochs, width / 4);
  const std::string flow =
      fmt::format("flow(epochs={},rank={})", options.loop_flow_epochs, width / 4);
  const std::string bits = "klt | uniform(bits=4,block=32)";
  return {half,
          spline + " | " + half,
          flow + " | " + half,
          "k: f16; v: " + half,
          "k: f16; v: " + spline + " | " + half,
          "k: f16; v: " + flow + " | " + half,
          bits,
          spline + " | " + bits};
}

struct Looped {
  quality::Outcome outcome;
};
template <class Record, class F>  // Looped, const or not
void visit_fields(Record& r, F&& f) requires std::same_as<std::remove_const_t<Record>, Looped> {
  visit_outcome(r.outcome, f);
  f("state_bytes", r.outcome.state_bytes);
}

// Pipelines in the loop of a model, some together, which share their f16 base.
class Loop {
 public:
  Loop(const host::Model& model, const Caches& caches, const StudyOptions& options,
       const Setting& setting, std::string identity, Journal<Looped>& journal)
      : model_(model),
        caches_(caches),
        options_(options),
        setting_(setting),
        identity_(std::move(identity)),
        journal_(journal) {}

  Result<> measure(const std::vector<std::string>& pipelines) {
    constexpr size_t kTogether = 3;
    std::vector<sweep::Job> jobs;
    for (size_t first = 0; first < pipelines.size(); first += kTogether) {
      const std::span some =
          std::span(pipelines).subspan(first, std::min(kTogether, pipelines.size() - first));
      jobs.push_back({key_of(some.back()),
                      [this, some] { return journal_.has(key_of(some.back())); },
                      [this, some] { return measure_some(some); }});
    }
    return setting_.team.share(setting_.dir, jobs, setting_.progress);
  }

  std::vector<quality::Outcome> outcomes_of(const std::vector<std::string>& pipelines) const {
    std::vector<quality::Outcome> all;
    for (size_t i = 0; const Looped* base = journal_.find(key_of_base(i)); ++i) {
      all.push_back(base->outcome);
    }
    for (const auto& pipeline : pipelines) all.push_back(journal_.find(key_of(pipeline))->outcome);
    return all;
  }

 private:
  std::string key_of(const std::string& pipeline) const { return identity_ + "/" + pipeline; }
  std::string key_of_base(size_t i) const { return fmt::format("{}/base {}", identity_, i); }

  // The last pipeline is written last, and tells that all are there.
  Result<> measure_some(std::span<const std::string> pipelines) {
    KVS_ASSIGN(const auto codecs, codecs_of(pipelines));
    std::vector<quality::Subject> subjects;
    for (size_t i = 0; i < codecs.size(); ++i) {
      subjects.push_back({pipelines[i], std::nullopt, &codecs[i]});
    }
    KVS_ASSIGN(const std::string text, read_text(options_.test_text));
    KVS_ASSIGN(const auto tokens, model_.tokenize(text));
    quality::Options loop;
    loop.n_ctx = options_.loop_ctx;
    loop.chunks = options_.loop_chunks;
    KVS_ASSIGN(const auto outcomes,
               quality::measure(model_, tokens, subjects, loop, setting_.progress));
    const size_t bases = outcomes.size() - pipelines.size();
    for (size_t i = 0; i < outcomes.size(); ++i) {
      const auto key = i < bases ? key_of_base(i) : key_of(pipelines[i - bases]);
      KVS_TRY(journal_.add(key, {outcomes[i]}));
    }
    return {};
  }

  Result<std::vector<codec::Codec>> codecs_of(std::span<const std::string> pipelines) const {
    KVS_ASSIGN(const auto source, codec::DumpSource::open({caches_.train_path()}, Caches::kSinks));
    std::vector<codec::Codec> codecs;
    for (const std::string& pipeline : pipelines) {
      KVS_TRY(
          setting_.progress.step("fitting codecs for the loop", codecs.size(), pipelines.size()));
      KVS_ASSIGN(const auto text, codec::parse_codec(pipeline));
      KVS_ASSIGN(auto fitted, codec::fit_codec(text, source.shape(), source, nullptr, {}));
      codecs.push_back(std::move(fitted));
    }
    return codecs;
  }

  const host::Model& model_;
  const Caches& caches_;
  const StudyOptions& options_;
  const Setting& setting_;
  std::string identity_;
  Journal<Looped>& journal_;
};

}  // namespace

Result<std::vector<quality::Outcome>> compare_in_loop(const host::Model& model,
                                                      const Caches& caches,
                                                      const StudyOptions& options,
                                                      const Setting& setting,
                                                      const std::string& identity) {
  KVS_ASSIGN(auto journal, Journal<Looped>::open(setting.dir / "loop.jsonl"));
  const auto pipelines = loop_pipelines(options, least_width(model.shape()));
  Loop loop(model, caches, options, setting, identity, journal);
  KVS_TRY(loop.measure(pipelines));
  return loop.outcomes_of(pipelines);
}

}  // namespace kvsplice::experiment
