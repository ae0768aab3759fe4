#include "calibrate/calibrate.h"

#include <fmt/format.h>

#include <algorithm>
#include <optional>

#include "calibrate/calibration_data.h"
#include "calibrate/calibration_rows.h"
#include "calibrate/information.h"
#include "calibrate/target.h"
#include "calibrate/tune.h"
#include "core/temporary_folder.h"
#include "fit/fit_codec.h"
#include "host/cache_block.h"

namespace kvsplice::calibrate {

namespace {

Result<std::string> pipeline_for(const ModelShape& shape, const CalibrateOptions& o) {
  if (!o.pipeline && !o.live) {
    return default_pipeline(shape, o.decode_budget.value_or(kDecodeBudget));
  }
  if (o.decode_budget || (o.pipeline && o.live)) {
    return Error{
        ErrorKind::usage,
        "give one of a pipeline, a decode budget and a live cache: each chooses a pipeline"};
  }
  return o.live ? live_pipeline(shape) : *o.pipeline;
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

Result<> check_tuning(const CalibrateOptions& o, const codec::CodecText& text) {
  const auto refuse = [](const std::string& why) {
    return Result<>(Error{ErrorKind::usage, "steps of units cannot be tuned: " + why});
  };
  if (!o.tune) return {};
  if (o.live) return refuse("a live cache has widths, and no steps");
  if (o.ratio || o.kld) return refuse("a target scales all steps together; name a 'delta' instead");
  for (Kind kind : {Kind::key, Kind::value}) {
    const auto& stages = text.of(kind);
    const auto is_step = [](const codec::StageText& stage) { return stage.name == "step"; };
    if (std::none_of(stages.begin(), stages.end(), is_step)) {
      return refuse("the pipeline has no stage 'step' for " +
                    std::string(kind == Kind::key ? "keys" : "values"));
    }
  }
  return {};
}

Result<codec::Codec> fit_tuned(const host::Model& model, const codec::CodecText& text,
                               const CalibrationData& data,
                               std::span<const extract::Sequence> sequences,
                               const CalibrateOptions& o, const Progress& progress) {
  const codec::Embeddings embeddings = host::embeddings_of(model);
  const InformedRows source = data.source();
  KVS_ASSIGN(codec::Codec even,
             codec::fit_codec(text, data.shape(), source, &embeddings, progress));
  if (!o.tune) return even;
  KVS_ASSIGN(const std::vector<UnitCost> costs,
             unit_costs(model, even, sequences, o.sinks, o.threads, progress));
  const TunedRows tuned(source, even, tuned_steps(costs));
  return codec::fit_codec(text, data.shape(), tuned, &embeddings, progress);
}

}  // namespace

Result<Calibration> calibrate(const host::Model& model, const std::vector<std::string>& texts,
                              const CalibrateOptions& o, const Progress& progress) {
  KVS_ASSIGN(const std::string pipeline, pipeline_for(model.shape(), o));
  if (o.live) KVS_TRY(model.check_live_cache());
  KVS_ASSIGN(codec::CodecText text, codec::parse_codec(pipeline));
  std::vector<std::string> notes;
  if (!o.pipeline && model.shape().lacks_values()) {
    notes.emplace_back("without 'focus': queries of latent attention are not kept");
    text = codec::without("focus", text);
  }
  KVS_TRY(check_target(o, text));
  KVS_TRY(check_tuning(o, text));
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
  KVS_ASSIGN(codec::Codec codec, fit_tuned(model, text, data, spread.sequences, o, progress));
  const size_t tokens = codec.calibration_tokens();
  return Calibration{std::move(codec), {{}}, tokens, 0, notes};
}

}  // namespace kvsplice::calibrate
