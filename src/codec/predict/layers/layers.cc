// Prediction of a unit's rows from what earlier layers and the tokens themselves already tell:
// affine least squares on reconstructions, as the decoder will see them.
#include "codec/predict/layers/layers.h"

#include <fmt/format.h>

#include "codec/checks.h"
#include "codec/make_stage.h"
#include "codec/predict/layers/predictor.h"

namespace kvsplice::codec {

namespace {

class Layers : public Stage {
 public:
  // Up to version 3 inputs were not rounded.
  Layers(const LayersParams& params, int version)
      : params_(params),
        inputs_(version <= 3 ? layers::Predictor::Inputs::floats
                             : layers::Predictor::Inputs::bytes) {}

  Result<> encode(Rows& rows, const CodeContext& context, ByteWriter&) const override {
    KVS_TRY(check_fitted(rows, width_));
    return add_prediction(rows, context, -1);
  }

  Result<> decode(Rows& rows, size_t count, const CodeContext& context,
                  ByteReader&) const override {
    KVS_TRY(check_values(rows, count, width_));
    return add_prediction(rows, context, 1);
  }

  State save() const override { return predictor_ ? predictor_->save() : State{}; }

  Result<> load(const State& state, size_t width) override {
    std::optional<layers::Predictor> loaded;
    if (!state.empty()) {
      KVS_ASSIGN(loaded, layers::Predictor::load(state, width, inputs_));
    }
    predictor_ = std::move(loaded);
    width_ = width;
    return {};
  }

 private:
  Result<> add_prediction(Rows& rows, const CodeContext& context, float sign) const {
    if (!predictor_) return {};
    SideBySide read;
    for (const auto& source : layers::sources(params_, context)) read.push_back(source.rows);
    if (width_of(read) != predictor_->inputs()) {
      return Error{ErrorKind::format,
                   fmt::format("the predictor reads {} values per token, {} are there",
                               predictor_->inputs(), width_of(read))};
    }
    Matrix<float> here;
    Matrix<float>& prediction = context.kept ? *context.kept : here;
    if (prediction.empty()) {
      prediction = Matrix<float>(rows.values.rows(), width_);
      predictor_->predict(read, prediction);
    }
    for (size_t i = 0; i < prediction.size(); ++i) {
      rows.values.flat()[i] += sign * prediction.flat()[i];
    }
    return {};
  }

  LayersParams params_;
  layers::Predictor::Inputs inputs_;
  std::optional<layers::Predictor> predictor_;  // none: prediction did not pay
  size_t width_ = 0;
};

StageInfo::Traits traits(const KeyValues& pairs) {
  StageInfo::Traits t;
  if (const auto params = parse_params<LayersParams>("layers", pairs); params.ok()) {
    t.history = params->history;
    t.embeddings = params->embedding == "on";
    if (t.embeddings) t.directions = size_t(params->directions.value_or(0));
  }
  return t;
}

}  // namespace

std::vector<layers::Source> layers::sources(const LayersParams& params,
                                            const CodeContext& context) {
  // Another stage of the pipeline may have asked for more history.
  const size_t most =
      params.history == 0 ? 0 : 2 * size_t(params.history) + (context.unit.kind == Kind::value);
  std::vector<Source> all;
  for (size_t i = 0; i < std::min(most, context.history.size()); ++i) {
    const Reconstruction& r = context.history[i];
    if (r.rows.cols == 0) continue;  // a layer without values
    all.push_back({fmt::format("{} {}", name(r.kind), r.layer), r.rows});
  }
  if (params.embedding != "on") return all;
  // The lowest of units that read layers have little else, and are nearly functions of the token.
  const bool is_lowest =
      params.history > 0 && all.size() == (context.unit.kind == Kind::value ? 1 : 0);
  if (params.directions && !is_lowest) {
    const MatrixView<const float> there = context.directions;  // none, if the codec has no basis
    const size_t read = std::min(size_t(*params.directions), there.cols);
    all.push_back({"directions", there.col_range(0, read)});
  } else {
    all.push_back({"embedding", context.embedded});
  }
  return all;
}

StageInfo layers_stage() {
  StageInfo info;
  info.name = "layers";
  info.group = "predict";
  info.summary = "Predicts rows from the layers below and the token's embedding, as decoded.";
  info.version = 4;
  info.oldest = 3;
  info.params = describe<LayersParams>();
  info.make = stage_maker<Layers, LayersParams>("layers");
  info.traits = traits;
  return info;
}

}  // namespace kvsplice::codec
