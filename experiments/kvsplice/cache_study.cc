#include "experiments/kvsplice/cache_study.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "core/file.h"
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

// Adds one unit's errors to rows ordered as those of rows_of.
Result<> add_unit(const Caches& caches, const Place& place, const StudyOptions& options,
                  std::vector<CacheRow>& rows) {
  KVS_ASSIGN(const Matrix<float> train, caches.train(place));
  KVS_ASSIGN(const Matrix<float> test, caches.test(place));
  const double rms = rms_about_mean(test);
  std::vector<double> plain;  // by part
  for (Warp warp : kWarps) {
    KVS_ASSIGN(auto map, train_warp(warp, train, rank_of(train.cols(), kTrainPart), options, 0));
    KVS_ASSIGN(const auto coder, WarpedPca::fit(std::move(map), train, train.cols()));
    for (size_t i = 0; i < std::size(kTestParts); ++i) {
      const Matrix<float> back = coder.through(rank_of(train.cols(), kTestParts[i]), test);
      KVS_ASSIGN(const double attention, caches.attention_error(place, back));
      const double error = std::sqrt(train::mean_squared_error(back, test)) / rms;
      if (warp == Warp::none) plain.push_back(error);
      CacheRow& row = rows[i * std::size(kWarps) + size_t(warp)];
      row.error += error / double(row.units);
      row.attention_error += attention / double(row.units);
      row.better += error < plain[i];
    }
  }
  return {};
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

Result<std::vector<CacheRow>> compare_caches(const Caches& caches, const StudyOptions& options,
                                             const Progress& progress) {
  std::vector<CacheRow> all;
  size_t done = 0;
  for (host::Signal signal : kCacheSignals) {
    for (bool by_head : {true, false}) {
      KVS_TRY(progress.step("warps on real caches", done++, 2 * std::size(kCacheSignals)));
      const auto places = places_of(caches, signal, by_head);
      KVS_ASSIGN(const Matrix<float> some, caches.test(places[0]));
      auto rows = rows_of(signal, by_head, some.cols(), places.size());
      for (const Place& place : places) KVS_TRY(add_unit(caches, place, options, rows));
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

}  // namespace

Result<std::vector<quality::Outcome>> compare_in_loop(const host::Model& model,
                                                      const Caches& caches,
                                                      const StudyOptions& options,
                                                      const Progress& progress) {
  KVS_ASSIGN(const auto source, codec::DumpSource::open({caches.train_path()}, Caches::kSinks));
  const auto pipelines = loop_pipelines(options, least_width(model.shape()));
  std::vector<codec::Codec> codecs;
  codecs.reserve(pipelines.size());
  std::vector<quality::Subject> subjects;
  for (const std::string& pipeline : pipelines) {
    KVS_TRY(progress.step("fitting codecs for the loop", codecs.size(), pipelines.size()));
    KVS_ASSIGN(const auto text, codec::parse_codec(pipeline));
    KVS_ASSIGN(auto fitted, codec::fit_codec(text, source.shape(), source, nullptr, {}));
    codecs.push_back(std::move(fitted));
    subjects.push_back({pipeline, std::nullopt, &codecs.back()});
  }
  KVS_ASSIGN(const std::string text, read_text(options.test_text));
  KVS_ASSIGN(const auto tokens, model.tokenize(text));
  quality::Options loop;
  loop.n_ctx = options.loop_ctx;
  loop.chunks = options.loop_chunks;
  return quality::measure(model, tokens, subjects, loop, progress);
}

}  // namespace kvsplice::experiment
