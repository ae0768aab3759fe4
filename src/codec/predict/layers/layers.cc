// Prediction of a unit's rows from what earlier layers and the tokens themselves already tell:
// affine least squares on reconstructions, as the decoder will see them.
#include <fmt/format.h>

#include <array>

#include "codec/checks.h"
#include "codec/make_stage.h"
#include "codec/predict/layers/predictor.h"
#include "core/threads.h"

namespace kvsplice::codec {

namespace {

struct Params {
  int history = 3;
  std::string embedding = "on";
  std::optional<int> rank;
  double noise = 4e-3;
  double ridge = 1e-2;

  template <class V>
  void visit(V&& v) {
    v("history", history, "layers below whose keys and values are read", Range{0, 64});
    v("embedding", embedding, "whether the token's embedding row is read", Choice{"on", "off"});
    v("rank", rank, "directions of the prediction that are kept; all if not given",
      Range{1, 1 << 16});
    v("noise", noise,
      "that rounding the weights may add, over the unit's variance; more makes the "
      "codec file smaller",
      Range{1e-9, 1});
    v("ridge", ridge, "added to the correlation matrix of what is read", Range{1e-9, 1});
  }
};

class Layers : public Stage {
 public:
  explicit Layers(const Params& params) : params_(params) {}

  Result<> fit(const Rows& rows, const Context& context) override {
    predictor_.reset();
    width_ = rows.values.cols();
    if (rows.values.rows() == 0) return Error{ErrorKind::numeric, "no rows to learn from"};
    KVS_TRY(check_finite(rows.values));
    const std::vector<layers::Source> sources = this->sources(context);
    if (sources.empty()) return {};
    const layers::SolveOptions options{params_.rank, params_.noise, params_.ridge};
    const layers::Moments moments = layers::measure(sources, rows.values, shared(context));
    std::array<Result<layers::Predictor>, 2> solved;  // without rows held out, and from all
    parallel_for(2, [&](size_t all) { solved[all] = layers::solve(moments, all == 1, options); });
    KVS_ASSIGN(const layers::Predictor trial, std::move(solved[0]));
    if (layers::held_out_bits(moments, &trial) >= layers::held_out_bits(moments, nullptr))
      return {};
    KVS_ASSIGN(predictor_, std::move(solved[1]));
    return {};
  }

  Result<> encode(Rows& rows, const Context& context, ByteWriter&) const override {
    KVS_TRY(check_fitted(rows, width_));
    return add_prediction(rows, context, -1);
  }

  Result<> decode(Rows& rows, size_t count, const Context& context, ByteReader&) const override {
    KVS_TRY(check_values(rows, count, width_));
    return add_prediction(rows, context, 1);
  }

  State save() const override { return predictor_ ? predictor_->save() : State{}; }

  Result<> load(const State& state, size_t width) override {
    std::optional<layers::Predictor> loaded;
    if (!state.empty()) {
      KVS_ASSIGN(loaded, layers::Predictor::load(state, width));
    }
    predictor_ = std::move(loaded);
    width_ = width;
    return {};
  }

 private:
  static layers::SharedProducts& shared(const Context& context) {
    auto& slot = (*context.memory)["layers"];
    if (!slot) slot = std::make_shared<layers::SharedProducts>();
    return *static_cast<layers::SharedProducts*>(slot.get());
  }

  std::vector<layers::Source> sources(const Context& context) const {
    // Another stage of the pipeline may have asked for more history.
    const size_t most =
        params_.history == 0 ? 0 : 2 * size_t(params_.history) + (context.unit.kind == Kind::value);
    std::vector<layers::Source> all;
    for (size_t i = 0; i < std::min(most, context.history.size()); ++i) {
      const Reconstruction& r = context.history[i];
      all.push_back({fmt::format("{} {}", name(r.kind), r.layer), r.rows});
    }
    if (params_.embedding == "on") all.push_back({"embedding", context.embedded});
    return all;
  }

  Result<> add_prediction(Rows& rows, const Context& context, float sign) const {
    if (!predictor_) return {};
    SideBySide read;
    for (const auto& source : sources(context)) read.push_back(source.rows);
    if (width_of(read) != predictor_->inputs()) {
      return Error{ErrorKind::format,
                   fmt::format("the predictor reads {} values per token, {} are there",
                               predictor_->inputs(), width_of(read))};
    }
    Matrix<float> here;
    Matrix<float>& prediction = context.predictions ? (*context.predictions)[this] : here;
    if (prediction.empty()) {
      prediction = Matrix<float>(rows.values.rows(), width_);
      predictor_->predict(read, prediction);
    }
    for (size_t i = 0; i < prediction.size(); ++i) {
      rows.values.flat()[i] += sign * prediction.flat()[i];
    }
    return {};
  }

  Params params_;
  std::optional<layers::Predictor> predictor_;  // none: prediction did not pay
  size_t width_ = 0;
};

StageInfo::Traits traits(const KeyValues& pairs) {
  StageInfo::Traits t;
  if (const auto params = parse_params<Params>("layers", pairs); params.ok()) {
    t.history = params->history;
    t.embeddings = params->embedding == "on";
  }
  return t;
}

}  // namespace

StageInfo layers_stage() {
  StageInfo info;
  info.name = "layers";
  info.group = "predict";
  info.summary = "Predicts rows from the layers below and the token's embedding, as decoded.";
  info.version = info.oldest = 3;
  info.params = describe<Params>();
  info.make = stage_maker<Layers, Params>("layers");
  info.traits = traits;
  return info;
}

}  // namespace kvsplice::codec
