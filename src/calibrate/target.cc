#include "calibrate/target.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "calibrate/step_search.h"
#include "fit/fit_codec.h"
#include "host/cache_block.h"
#include "live/budget.h"
#include "quality/quality.h"

namespace kvsplice::calibrate {

namespace {

// Fits on a part of the sequences find about where the target is. Such a part has an eighth of
// them, and never fewer than this.
constexpr size_t kPart = 8, kFewestInPart = 4;
constexpr size_t kMostFits = 8;
constexpr double kMost = std::numeric_limits<double>::max();
constexpr Range kAnyNumber{-kMost, kMost};
// Of the logarithms of ratio and divergence over that of the step, where nothing is known yet.
constexpr double kRatioSlope = 0.7, kDivergenceSlope = 1.7;

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

using Live = std::shared_ptr<const live::LiveForm>;

// The codec as a live cache; null if it can be none.
Live live_form_of(const codec::Codec& codec) {
  auto form = live::LiveForm::of(codec);
  return form.ok() ? std::make_shared<live::LiveForm>(std::move(form).value()) : nullptr;
}

// Between f16 and all that a live cache of `tokens` takes.
double ratio_of_cache(const live::LiveForm& form, size_t tokens) {
  const uint64_t bytes = live::Budget(form, {}, host::kLiveCells).bytes(tokens);
  return form.shape().f16_bytes(tokens) / double(bytes);
}

Result<double> measured_ratio(const codec::Codec& codec, const Live& live, const Held& held,
                              const std::optional<CacheLimit>& limit,
                              const codec::Embeddings& embeddings) {
  if (live && limit) return ratio_of_cache(*live, limit->tokens);
  if (live) return 16 / live->bits_per_value();
  double bytes = 0, f16 = 0;
  for (const auto& block : held.blocks) {
    KVS_ASSIGN(const Bytes encoded, codec.encode(block, &embeddings));
    bytes += double(encoded.size());
    f16 += double(codec.shape().f16_bytes_per_token() * block.count());
  }
  return f16 / bytes;
}

quality::Options loop_options(const host::Model& model, const Held& held, const CalibrateOptions& o,
                              size_t most_chunks) {
  quality::Options options;
  options.n_ctx = static_cast<int>(sequence_of(model, o));
  options.chunks = static_cast<int>(std::min(held.sequences, most_chunks));
  options.sinks = static_cast<int>(o.sinks);
  options.threads = o.threads;
  return options;
}

// Mean divergence above the noise floor.
Result<double> measured_kld(const host::Model& model, const codec::Codec& codec, const Live& live,
                            const Held& held, const CalibrateOptions& o, const Progress& progress) {
  std::vector<quality::Subject> subjects = {{"floor", std::nullopt, nullptr},
                                            {"codec", std::nullopt, &codec}};
  quality::Options options = loop_options(model, held, o, 4);
  if (live) {
    subjects[1].live = live;
    options.window = int(std::min(live::LiveOptions().window, size_t(options.n_ctx) / 4));
  }
  KVS_ASSIGN(const auto outcomes,
             quality::measure(model, held.tokens, subjects, options, progress));
  double floor = 0, kld = 0;
  for (const quality::Outcome& outcome : outcomes) {
    if (outcome.cache == "floor") floor = outcome.kld_mean;
    if (outcome.cache == "codec") kld = outcome.kld_mean;
  }
  return std::max(kld - floor, 1e-6);
}

bool has_steps(const std::string& stage) { return stage == "step" || stage == "widths"; }

bool has_stage(const codec::CodecText& text, bool (*is)(const std::string&)) {
  for (Kind kind : {Kind::key, Kind::value}) {
    for (const auto& stage : text.of(kind)) {
      if (is(stage.name)) return true;
    }
  }
  return false;
}

Result<> check_limit(const CacheLimit& limit, const codec::CodecText& text) {
  if (!has_stage(text, [](const std::string& name) { return name == "widths"; })) {
    return Error{ErrorKind::usage, "a limit is that of a live cache, whose pipeline has 'widths'"};
  }
  if (limit.bytes > 0 && limit.tokens > 0) return {};
  return Error{ErrorKind::usage,
               fmt::format("a limit of {} bytes for {} tokens; legal: more than 0", limit.bytes,
                           limit.tokens)};
}

// Within the search's tolerance a cache then is on the right side of its limit.
double target_of(const CalibrateOptions& o, const ModelShape& shape) {
  if (o.kld) return *o.kld;
  if (o.ratio) return *o.ratio;
  return shape.f16_bytes(o.limit->tokens) / double(o.limit->bytes) *
         std::exp(StepSearch::kTolerance);
}

}  // namespace

Result<> check_target(const CalibrateOptions& o, const codec::CodecText& text) {
  if (int(o.ratio.has_value()) + int(o.kld.has_value()) + int(o.limit.has_value()) > 1) {
    return Error{ErrorKind::usage,
                 "give a target ratio or a target divergence or a limit of memory, not both"};
  }
  if (o.limit) KVS_TRY(check_limit(*o.limit, text));
  for (const auto& target : {o.ratio, o.kld}) {
    if (!target) continue;
    if (!(*target > 0) || std::isinf(*target)) {
      return Error{ErrorKind::usage, fmt::format("a target of {}; legal: more than 0", *target)};
    }
    if (!has_stage(text, has_steps)) {
      return Error{ErrorKind::usage,
                   "a target needs a stage 'step(delta=...)' or 'widths(delta=...)' to scale"};
    }
  }
  return {};
}

codec::CodecText scale_steps(codec::CodecText text, double factor) {
  for (auto* pipeline : {&text.key, &text.value}) {
    for (auto& stage : *pipeline) {
      if (!has_steps(stage.name)) continue;
      const auto is_delta = [](const auto& param) { return param.first == "delta"; };
      auto delta = std::find_if(stage.params.begin(), stage.params.end(), is_delta);
      if (delta == stage.params.end()) {
        const auto& known = codec::find_stage(stage.name)->params;
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

// What the fits of one search share.
struct Trials {
  const host::Model& model;
  const codec::CodecText& text;
  const CalibrateOptions& options;
  const Progress& progress;
  const codec::Embeddings& embeddings;
  const Held& held;
  std::vector<Trial> made;
};

double reached(const Trial& trial, const CalibrateOptions& o) {
  return o.kld ? trial.kld : trial.ratio;
}

Result<codec::Codec> try_step(Trials& trials, const ModelShape& shape,
                              const codec::RowSource& source, double factor) {
  Trial trial{.factor = factor, .tokens = source.tokens().size()};
  KVS_ASSIGN(codec::Codec codec, codec::fit_codec(scale_steps(trials.text, factor), shape, source,
                                                  &trials.embeddings, trials.progress));
  const Live live = live_form_of(codec);
  KVS_ASSIGN(trial.ratio,
             measured_ratio(codec, live, trials.held, trials.options.limit, trials.embeddings));
  if (trials.options.kld) {
    KVS_ASSIGN(trial.kld, measured_kld(trials.model, codec, live, trials.held, trials.options,
                                       trials.progress));
  }
  trials.made.push_back(trial);
  return codec;
}

Error not_met(const Trials& trials) {
  const Trial& last = trials.made.back();
  return {
      ErrorKind::numeric,
      fmt::format("the target was not met in {} fits; the last had a ratio of {:.2f}{}",
                  trials.made.size(), last.ratio,
                  trials.options.kld ? fmt::format(" and a divergence of {:.5f}", last.kld) : "")};
}

// Fits to a part of the rows have lower ratios than fits to all, at every step by about the same
// factor, and cost a part.
Result<StepSearch> search_on_part(Trials& trials, const CalibrationData& data, double target) {
  const size_t sequences = data.sequences();
  const size_t part = std::max(kFewestInPart, sequences / kPart);
  StepSearch search(target, kRatioSlope);
  if (2 * part > sequences) return search;
  KVS_ASSIGN(const codec::DumpSource rows,
             codec::DumpSource::open(data.dumps(), trials.options.sinks,
                                     [&](size_t i) { return i < part && !is_held(i); }));
  const InformedRows source(rows, data.information());
  for (size_t i = 0; i < kMostFits; ++i) {
    KVS_TRY(try_step(trials, data.shape(), source, search.factor()));
    const double ratio = trials.made.back().ratio;
    if (search.met(ratio)) break;
    search.learn(ratio);
  }
  return search.again();
}

}  // namespace

Result<Calibration> meet_target(const host::Model& model, const codec::CodecText& text,
                                const CalibrationData& data, const CalibrateOptions& o,
                                const Progress& progress) {
  const codec::Embeddings embeddings = host::embeddings_of(model);
  const InformedRows source = data.source();
  KVS_ASSIGN(const Held held, read_held(data.dumps(), o.sinks));
  Trials trials{model, text, o, progress, embeddings, held, {}};
  const double target = target_of(o, data.shape());
  StepSearch search(target, kDivergenceSlope);
  if (!o.kld) {
    KVS_ASSIGN(search, search_on_part(trials, data, target));
  }
  for (size_t i = 0; i < kMostFits; ++i) {
    KVS_ASSIGN(codec::Codec codec, try_step(trials, data.shape(), source, search.factor()));
    const double value = reached(trials.made.back(), o);
    if (search.met(value)) {
      return Calibration{std::move(codec), trials.made, source.tokens().size(), held.sequences, {}};
    }
    search.learn(value);
  }
  return not_met(trials);
}

}  // namespace kvsplice::calibrate
