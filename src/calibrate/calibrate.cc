#include "calibrate/calibrate.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <optional>

#include "calibrate/calibration_data.h"
#include "calibrate/calibration_rows.h"
#include "calibrate/information.h"
#include "calibrate/target.h"
#include "core/temporary_folder.h"
#include "fit/fit_codec.h"
#include "host/cache_block.h"

namespace kvsplice::calibrate {

namespace {

bool has_target(const CalibrateOptions& o) { return o.ratio || o.kld || o.limit; }

// Tokens of the contexts to come.
size_t live_context(const host::Model& model) {
  const int wanted = model.options().context;
  return wanted > 0 ? size_t(wanted) : std::min(kLiveContext, size_t(model.context_limit()));
}

Result<std::string> pipeline_for(const host::Model& model, const CalibrateOptions& o) {
  if (!o.pipeline && !o.live) {
    return default_pipeline(model.shape(), o.decode_budget.value_or(kDecodeBudget));
  }
  if (o.decode_budget || (o.pipeline && o.live)) {
    return Error{
        ErrorKind::usage,
        "give one of a pipeline, a decode budget and a live cache: each chooses a pipeline"};
  }
  return o.live ? live_pipeline(model.shape(), live_context(model)) : *o.pipeline;
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

Result<codec::Codec> fit(const host::Model& model, const codec::CodecText& text,
                         const CalibrationData& data, const Progress& progress) {
  const codec::Embeddings embeddings = host::embeddings_of(model);
  return codec::fit_codec(text, data.shape(), data.source(), &embeddings, progress);
}

// Of the pipeline that is left when all gradients that are known have been looked for.
Result<> check_tuning(const codec::CodecText& text) {
  if (codec::traits_of(text).information) return {};
  return Error{ErrorKind::usage, fmt::format("nothing to tune: pipeline '{}' has no stage 'fisher'",
                                             codec::print(text))};
}

// Adds to what errors do what they do behind prompts that a codec of the pipeline has restored.
Result<> tune(const host::Model& model, const codec::CodecText& text,
              std::span<const extract::Sequence> sequences, const GatherOptions& options,
              const Progress& progress, CalibrationData& data) {
  KVS_ASSIGN(const codec::Codec codec, fit(model, text, data, progress));
  KVS_ASSIGN(const ModelInformation behind,
             measure_information_behind(model, codec, sequences, options, progress));
  data.set_information(even_mean(data.information(), behind));
  return {};
}

// All that stands before the first fit.
struct Prepared {
  codec::CodecText text;
  Spread spread;
  std::optional<TemporaryFolder> own;  // the data's, if nobody has named one
  std::optional<CalibrationData> data;
  std::vector<std::string> notes;
};

Result<> choose_pipeline(const host::Model& model, const CalibrateOptions& o, Prepared& prepared) {
  KVS_ASSIGN(const std::string pipeline, pipeline_for(model, o));
  if (o.live) KVS_TRY(model.check_live_cache());
  KVS_ASSIGN(prepared.text, codec::parse_codec(pipeline));
  KVS_TRY(check_target(o, prepared.text));
  if (o.tune) KVS_TRY(check_tuning(prepared.text));
  KVS_TRY(codec::Codec::make_units(prepared.text, model.shape()));
  return {};
}

Result<Prepared> prepare(const host::Model& model, const std::vector<std::string>& texts,
                         const CalibrateOptions& o, const Progress& progress) {
  Prepared p;
  KVS_TRY(choose_pipeline(model, o, p));
  KVS_ASSIGN(p.spread, spread_sequences(model, texts, o.tokens, sequence_of(model, o)));
  if (has_target(o) && p.spread.sequences.size() < kHeldEvery) {
    return Error{ErrorKind::usage, fmt::format("a target needs at least {} sequences of {} tokens",
                                               kHeldEvery, sequence_of(model, o))};
  }
  if (o.work.empty()) {
    KVS_ASSIGN(p.own, TemporaryFolder::create("calibrate"));
  }
  if (!p.spread.note.empty()) p.notes.push_back(p.spread.note);
  const GatherOptions options{.sinks = o.sinks,
                              .work = p.own ? p.own->path() : o.work,
                              .threads = o.threads,
                              .memory = size_t(o.memory_gb * 1e9),
                              .use = [&](size_t i) { return !has_target(o) || !is_held(i); },
                              .team = o.team};
  KVS_ASSIGN(CalibrationData data,
             gather(model, p.spread.sequences, o, options, progress, p.text, p.notes));
  if (o.tune) {
    KVS_TRY(check_tuning(p.text));
    KVS_TRY(tune(model, p.text, p.spread.sequences, options, progress, data));
  }
  p.data.emplace(std::move(data));
  return p;
}

}  // namespace

size_t sequence_of(const host::Model& model, const CalibrateOptions& o) {
  if (o.sequence) return *o.sequence;
  constexpr size_t kUsual = 1024, kMostOfLive = 4096, kFewest = 4;
  size_t length = kUsual;
  if (o.live) {
    const size_t sequences = has_target(o) ? kHeldEvery : kFewest;
    length = std::clamp(std::bit_floor(o.tokens / sequences), kUsual, kMostOfLive);
  }
  return std::min(length, size_t(model.context_limit()));
}

Result<> evaluate_texts(const host::Model& model, const std::vector<std::string>& texts,
                        const CalibrateOptions& options, const Progress& progress) {
  KVS_TRY(prepare(model, texts, options, progress));
  return {};
}

Result<Calibration> calibrate(const host::Model& model, const std::vector<std::string>& texts,
                              const CalibrateOptions& o, const Progress& progress) {
  KVS_ASSIGN(const Prepared p, prepare(model, texts, o, progress));
  if (has_target(o)) {
    KVS_ASSIGN(Calibration made, meet_target(model, p.text, *p.data, o, progress));
    made.notes = p.notes;
    return made;
  }
  KVS_ASSIGN(codec::Codec codec, fit(model, p.text, *p.data, progress));
  const size_t tokens = codec.calibration_tokens();
  return Calibration{std::move(codec), {{}}, tokens, 0, p.notes};
}

}  // namespace kvsplice::calibrate
