// Scales every token's rows by how much attention the token will get, as the layers below tell, so
// that a quantiser behind it spends its bits where later tokens look.
#include "codec/transform/focus/focus.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "codec/checks.h"
#include "codec/make_stage.h"

namespace kvsplice::codec {

namespace {

class Focus : public Stage {
 public:
  explicit Focus(const FocusParams& params) : params_(params) {}

  Result<> encode(Rows& rows, const CodeContext& context, ByteWriter&) const override {
    return scale(rows, context, [](float& x, float factor) { x *= factor; });
  }

  Result<> decode(Rows& rows, size_t count, const CodeContext& context,
                  ByteReader&) const override {
    KVS_TRY(check_values(rows, count, context.unit.width()));
    return scale(rows, context, [](float& x, float factor) { x /= factor; });
  }

  State save() const override { return weights_.empty() ? State() : focus_state(weights_, bias_); }

  Result<> load(const State& state, size_t width) override {
    weights_ = {};
    bias_.clear();
    if (state.empty()) return {};
    KVS_ASSIGN(const StateArray* bias, find_array(state, "bias", {kAny}));
    KVS_ASSIGN(const StateArray* weights, find_array(state, "weights", {kAny}));
    const size_t heads = bias->values.size(), all = weights->values.size();
    if (heads == 0 || all == 0 || all % heads != 0 || width % heads != 0) {
      return Error{ErrorKind::format,
                   fmt::format("{} weights of {} heads for {} columns", all, heads, width)};
    }
    weights_ = Matrix<float>(heads, all / heads);
    std::copy(weights->values.begin(), weights->values.end(), weights_.data());
    bias_ = bias->values;
    return {};
  }

 private:
  // The factors of the heads: [rows x heads].
  Result<Matrix<float>> factors(const CodeContext& context, size_t rows) const {
    const SideBySide sources = focus_sources(params_, context);
    const size_t width = width_of(sources);
    if (width != weights_.cols() || weights_.rows() != context.unit.head_dims.size()) {
      return Error{
          ErrorKind::format,
          fmt::format("focus reads {} values per token for {} heads; {} and {} are there",
                      weights_.cols(), weights_.rows(), width, context.unit.head_dims.size())};
    }
    Matrix<float> made(rows, weights_.rows());
    multiply(sources, weights_, made);
    const auto half = static_cast<float>(params_.strength(context.unit.kind) / 2);
    const auto limit = static_cast<float>(params_.limit);
    for (size_t r = 0; r < rows; ++r) {
      for (size_t h = 0; h < made.cols(); ++h) {
        made(r, h) = std::clamp(std::exp(half * (made(r, h) + bias_[h])), 1 / limit, limit);
      }
    }
    return made;
  }

  template <class Body>
  Result<> scale(Rows& rows, const CodeContext& context, const Body& body) const {
    if (weights_.empty()) return {};
    KVS_TRY(check_heads(context.unit, rows.values.cols()));
    KVS_ASSIGN(const Matrix<float> by_head, factors(context, rows.values.rows()));
    for (size_t r = 0; r < rows.values.rows(); ++r) {
      float* x = rows.values.row(r).data();
      for (size_t h = 0; h < by_head.cols(); ++h) {
        for (int i = 0; i < context.unit.head_dims[h]; ++i) body(*x++, by_head(r, h));
      }
    }
    return {};
  }

  FocusParams params_;
  Matrix<float> weights_;  // [heads x values read] of the logarithm; empty: nothing is scaled
  std::vector<float> bias_;
};

StageInfo::Traits traits(const KeyValues& pairs) {
  StageInfo::Traits t;
  const auto params = parse_params<FocusParams>("focus", pairs);
  if (params.ok() && (params->keys > 0 || params->values > 0)) {
    t.history = 1;
    t.attention = true;
  }
  return t;
}

}  // namespace

SideBySide focus_sources(const FocusParams& params, const CodeContext& context) {
  SideBySide sources;
  if (params.strength(context.unit.kind) == 0) return sources;
  const size_t most = context.unit.kind == Kind::key ? 2 : 1;
  for (size_t i = 0; i < std::min(most, context.history.size()); ++i) {
    const MatrixView<const float> rows = context.history[i].rows;
    if (rows.cols > 0) sources.push_back(rows);  // none of a layer without values
  }
  return sources;
}

State focus_state(const Matrix<float>& weights, const std::vector<float>& bias) {
  State state;
  // Flat, since GGUF files drop dimensions of 1, and a model may have one head.
  state["weights"] = {
      {weights.size()}, {weights.flat().begin(), weights.flat().end()}, Storage::f16};
  state["bias"] = {{bias.size()}, bias};
  return state;
}

StageInfo focus_stage() {
  StageInfo info;
  info.name = "focus";
  info.group = "transform";
  info.summary = "Scales rows by the attention their token will get, as the layers below tell.";
  info.params = describe<FocusParams>();
  info.make = stage_maker<Focus, FocusParams>("focus");
  info.traits = traits;
  return info;
}

}  // namespace kvsplice::codec
