#include "calibrate/calibrate.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <optional>

#include "calibrate/calibration_data.h"
#include "calibrate/calibration_rows.h"
#include "calibrate/information.h"
#include "core/temporary_folder.h"
#include "fit/dump_source.h"
#include "fit/fit_codec.h"
#include "host/cache_block.h"
#include "quality/quality.h"

namespace kvsplice::calibrate {

namespace {

constexpr size_t kHeldEvery = 8;  // every eighth sequence is kept out when there is a target
constexpr int kMostTrials = 8;
constexpr double kMost = std::numeric_limits<double>::max();
constexpr Range kAnyNumber{-kMost, kMost};

bool is_held(size_t sequence) { return sequence % kHeldEvery == kHeldEvery - 1; }

// The sequences kept out of the fit, with everything a trial is measured by.
struct Held {
  std::vector<KvBlock<float>> blocks;
  std::vector<int32_t> tokens;  // whole sequences, one after the other
  size_t sequences = 0;
};

Result<Held> read_held(const std::vector<std::string>& paths, size_t sinks) {
  Held held;
  KVS_ASSIGN(const auto all, codec::DumpSource::open(paths, 0, is_held));
  KVS_ASSIGN(const auto source, codec::DumpSource::open(paths, sinks, is_held));
  held.tokens.assign(all.tokens().begin(), all.tokens().end());
  KvBlock<float> rows;
  for (Kind kind : {Kind::key, Kind::value}) {
    for (size_t l = 0; l < source.shape().layers.size(); ++l) {
      KVS_ASSIGN(Matrix<float> values, source.read(kind, static_cast<int>(l)));
      rows.of(kind).push_back(std::move(values));
    }
  }
  const auto positions = source.positions();
  for (size_t first = 0; first < positions.size();) {
    size_t n = 1;
    while (n < codec::kBlockTokens && first + n < positions.size() &&
           positions[first + n] == positions[first + n - 1] + 1) {
      ++n;
    }
    KvBlock<float> block;
    const auto tokens = source.tokens().subspan(first, n), at = positions.subspan(first, n);
    block.tokens.assign(tokens.begin(), tokens.end());
    block.positions.assign(at.begin(), at.end());
    for (Kind kind : {Kind::key, Kind::value}) {
      for (const auto& layer : rows.of(kind)) {
        block.of(kind).push_back(copy(layer.view().row_range(first, n)));
      }
    }
    held.blocks.push_back(std::move(block));
    first += n;
  }
  for (int32_t position : all.positions()) held.sequences += position == 0;
  return held;
}

Result<double> measured_ratio(const codec::Codec& codec, const Held& held,
                              const codec::Embeddings& embeddings) {
  double bytes = 0, f16 = 0;
  for (const auto& block : held.blocks) {
    KVS_ASSIGN(const Bytes encoded, codec.encode(block, &embeddings));
    bytes += double(encoded.size());
    f16 += double(codec.shape().f16_bytes_per_token() * block.count());
  }
  return f16 / bytes;
}

quality::Options loop_options(const Held& held, const CalibrateOptions& o, size_t most_chunks) {
  quality::Options options;
  options.n_ctx = static_cast<int>(o.sequence);
  options.chunks = static_cast<int>(std::min(held.sequences, most_chunks));
  options.sinks = static_cast<int>(o.sinks);
  options.threads = o.threads;
  return options;
}

// Mean divergence above the noise floor.
Result<double> measured_kld(const host::Model& model, const codec::Codec& codec, const Held& held,
                            const CalibrateOptions& o, const Progress& progress) {
  const std::vector<quality::Subject> subjects = {{"floor", std::nullopt, nullptr},
                                                  {"codec", std::nullopt, &codec}};
  KVS_ASSIGN(const auto outcomes,
             quality::measure(model, held.tokens, subjects, loop_options(held, o, 4), progress));
  double floor = 0, kld = 0;
  for (const quality::Outcome& outcome : outcomes) {
    if (outcome.cache == "floor") floor = outcome.kld_mean;
    if (outcome.cache == "codec") kld = outcome.kld_mean;
  }
  return std::max(kld - floor, 1e-6);
}

bool has_step(const codec::CodecText& text) {
  for (Kind kind : {Kind::key, Kind::value}) {
    for (const auto& stage : text.of(kind)) {
      if (stage.name == "step") return true;
    }
  }
  return false;
}

Result<> check_target(const CalibrateOptions& o, const codec::CodecText& text) {
  if (o.ratio && o.kld) {
    return Error{ErrorKind::usage, "give a target ratio or a target divergence, not both"};
  }
  for (const auto& target : {o.ratio, o.kld}) {
    if (!target) continue;
    if (!(*target > 0) || std::isinf(*target)) {
      return Error{ErrorKind::usage, fmt::format("a target of {}; legal: more than 0", *target)};
    }
    if (!has_step(text)) {
      return Error{ErrorKind::usage, "a target needs a stage 'step(delta=...)' to scale"};
    }
  }
  return {};
}

// Finds where a rising function of the logarithm of the factor meets a target, by secants kept
// within what is known of both sides.
class Search {
 public:
  explicit Search(double target) : target_(std::log(target)) {}

  double factor() const { return std::exp(x_); }
  bool met(double value) const { return std::abs(std::log(value) - target_) < kTolerance; }

  void learn(double value) {
    const double y = std::log(value) - target_;
    (y < 0 ? low_ : high_) = Point{x_, y};
    if (low_ && high_) {
      const double t = -low_->y / (high_->y - low_->y);
      x_ = low_->x + std::clamp(t, 0.1, 0.9) * (high_->x - low_->x);
    } else {
      x_ -= 1.4 * y;  // a little more than the usual slope asks for
    }
    x_ = std::clamp(x_, std::log(kLeastFactor), -std::log(kLeastFactor));
  }

 private:
  static constexpr double kTolerance = 0.02;
  static constexpr double kLeastFactor = 1.0 / 64;
  struct Point {
    double x, y;
  };
  double target_, x_ = 0;
  std::optional<Point> low_, high_;
};

}  // namespace

codec::CodecText scale_steps(codec::CodecText text, double factor) {
  for (auto* pipeline : {&text.key, &text.value}) {
    for (auto& stage : *pipeline) {
      if (stage.name != "step") continue;
      const auto is_delta = [](const auto& param) { return param.first == "delta"; };
      auto delta = std::find_if(stage.params.begin(), stage.params.end(), is_delta);
      if (delta == stage.params.end()) {
        const auto& known = codec::find_stage("step")->params;
        const auto info = std::find_if(known.begin(), known.end(),
                                       [](const auto& param) { return param.name == "delta"; });
        delta = stage.params.insert(delta, {"delta", info->default_value});
      }
      double value = 0;
      (void)params_detail::parse("delta", delta->second, kAnyNumber, value).ok();  // it is one
      delta->second = fmt::format("{:.6g}", value * factor);
    }
  }
  return text;
}

namespace {

Result<std::string> pipeline_for(const ModelShape& shape, const CalibrateOptions& o) {
  if (!o.pipeline) return default_pipeline(shape, o.decode_budget.value_or(kDecodeBudget));
  if (!o.decode_budget) return *o.pipeline;
  return Error{ErrorKind::usage, "a decode budget chooses a pipeline, and one is given"};
}

// What the pipeline learns from. The default pipeline goes without `fisher` where gradients are not
// known; `text` and `notes` say so then.
Result<CalibrationData> gather(const host::Model& model,
                               const std::vector<extract::Sequence>& sequences,
                               const CalibrateOptions& o, const GatherOptions& options,
                               const Progress& progress, codec::CodecText& text,
                               std::vector<std::string>& notes) {
  auto data = CalibrationData::gather(model, sequences, codec::traits_of(text), options, progress);
  if (data.ok() || data.error().kind != ErrorKind::unsupported) return data;
  if (o.pipeline) {
    return Error{ErrorKind::unsupported, data.error().message + "; leave 'fisher' out"};
  }
  notes.push_back(fmt::format("without 'fisher': {}", data.error().message));
  text = codec::without("fisher", text);
  return CalibrationData::gather(model, sequences, codec::traits_of(text), options, progress);
}

// Fits until the sequences kept out meet the target.
Result<Calibration> meet_target(const host::Model& model, const codec::CodecText& text,
                                const CalibrationData& data, const CalibrateOptions& o,
                                const Progress& progress) {
  const codec::Embeddings embeddings = host::embeddings_of(model);
  const InformedRows source = data.source();
  KVS_ASSIGN(const Held held, read_held(data.dumps(), o.sinks));
  Search search(o.ratio ? *o.ratio : *o.kld);
  std::vector<Trial> trials;
  while (trials.size() < kMostTrials) {
    Trial trial{search.factor(), 0, 0};
    KVS_ASSIGN(codec::Codec codec, codec::fit_codec(scale_steps(text, trial.factor), data.shape(),
                                                    source, &embeddings, progress));
    KVS_ASSIGN(trial.ratio, measured_ratio(codec, held, embeddings));
    if (o.kld) {
      KVS_ASSIGN(trial.kld, measured_kld(model, codec, held, o, progress));
    }
    trials.push_back(trial);
    const double reached = o.kld ? trial.kld : trial.ratio;
    if (search.met(reached)) {
      return Calibration{std::move(codec), trials, source.tokens().size(), held.sequences, {}};
    }
    search.learn(reached);
  }
  const Trial& last = trials.back();
  return Error{ErrorKind::numeric,
               fmt::format("the target was not met in {} fits; the last had a ratio of {:.2f}{}",
                           trials.size(), last.ratio,
                           o.kld ? fmt::format(" and a divergence of {:.5f}", last.kld) : "")};
}

}  // namespace

Result<Calibration> calibrate(const host::Model& model, const std::vector<std::string>& texts,
                              const CalibrateOptions& o, const Progress& progress) {
  KVS_ASSIGN(const std::string pipeline, pipeline_for(model.shape(), o));
  KVS_ASSIGN(codec::CodecText text, codec::parse_codec(pipeline));
  KVS_TRY(check_target(o, text));
  KVS_TRY(codec::Codec::make_units(text, model.shape()));
  const bool has_target = o.ratio || o.kld;
  KVS_ASSIGN(const Spread spread, spread_sequences(model, texts, o.tokens, o.sequence));
  if (has_target && spread.sequences.size() < kHeldEvery) {
    return Error{ErrorKind::usage, fmt::format("a target needs at least {} sequences of {} tokens",
                                               kHeldEvery, o.sequence)};
  }
  std::optional<TemporaryFolder> own;
  if (o.work.empty()) {
    KVS_ASSIGN(own, TemporaryFolder::create("calibrate"));
  }
  std::vector<std::string> notes;
  if (!spread.note.empty()) notes.push_back(spread.note);
  const GatherOptions options{.sinks = o.sinks,
                              .work = own ? own->path() : o.work,
                              .threads = o.threads,
                              .memory = size_t(o.memory_gb * 1e9),
                              .use = [&](size_t i) { return !has_target || !is_held(i); }};
  KVS_ASSIGN(const CalibrationData data,
             gather(model, spread.sequences, o, options, progress, text, notes));
  if (has_target) {
    KVS_ASSIGN(Calibration made, meet_target(model, text, data, o, progress));
    made.notes = std::move(notes);
    return made;
  }
  const codec::Embeddings embeddings = host::embeddings_of(model);
  const InformedRows source = data.source();
  KVS_ASSIGN(codec::Codec codec,
             codec::fit_codec(text, data.shape(), source, &embeddings, progress));
  return Calibration{std::move(codec), {{}}, source.tokens().size(), 0, notes};
}

}  // namespace kvsplice::calibrate
