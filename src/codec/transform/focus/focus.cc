// Scales every token's rows by how much attention the token will get, as the layers below tell, so
// that a quantiser behind it spends its bits where later tokens look.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "codec/checks.h"
#include "codec/make_stage.h"
#include "codec/side_by_side.h"
#include "core/half.h"
#include "linalg/linalg.h"

namespace kvsplice::codec {

namespace {

struct Params {
  double keys = 0.2;
  double values = 0.4;
  double limit = 3;

  template <class V>
  void visit(V&& v) {
    v("keys", keys, "exponent of the attention, for keys; 0 scales nothing", Range{0, 2});
    v("values", values, "the same for values", Range{0, 2});
    v("limit", limit, "the largest factor, and one over the smallest", Range{1, 1000});
  }
};

class Focus : public Stage {
 public:
  explicit Focus(const Params& params) : params_(params) {}

  Result<> fit(const Rows& rows, const Context& context) override {
    KVS_TRY(check_heads(context.unit, rows.values.cols()));
    KVS_TRY(check_finite(rows.values));
    weights_ = {};
    const auto sources = read(context);
    if (sources.empty()) return {};
    if (context.attention == nullptr || context.attention->rows.empty()) {
      return Error{ErrorKind::usage, "focus learns from queries, and none are known"};
    }
    const Attention& seen = *context.attention;
    const Matrix<float> inputs = gather(sources, seen.rows);
    if (seen.received.cols() != context.unit.head_dims.size()) {
      return Error{ErrorKind::mismatch,
                   fmt::format("attention of {} heads for keys and values of {}",
                               seen.received.cols(), context.unit.head_dims.size())};
    }
    KVS_TRY(check_finite(seen.received));
    return regress(inputs, seen.received);
  }

  Result<> encode(Rows& rows, const Context& context, ByteWriter&) const override {
    return scale(rows, context, [](float& x, float factor) { x *= factor; });
  }

  Result<> decode(Rows& rows, size_t count, const Context& context, ByteReader&) const override {
    KVS_TRY(check_values(rows, count, context.unit.width()));
    return scale(rows, context, [](float& x, float factor) { x /= factor; });
  }

  State save() const override {
    if (weights_.empty()) return {};
    State state;
    // Flat, since GGUF files drop dimensions of 1, and a model may have one head.
    state["weights"] = {
        {weights_.size()}, {weights_.flat().begin(), weights_.flat().end()}, Storage::f16};
    state["bias"] = {{bias_.size()}, bias_};
    return state;
  }

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
  double strength(Kind kind) const { return kind == Kind::key ? params_.keys : params_.values; }

  // Of values the keys of their layer, of keys the keys and values of the layer below.
  SideBySide read(const Context& context) const {
    SideBySide sources;
    if (strength(context.unit.kind) == 0) return sources;
    const size_t most = context.unit.kind == Kind::key ? 2 : 1;
    for (size_t i = 0; i < std::min(most, context.history.size()); ++i) {
      sources.push_back(context.history[i].rows);
    }
    return sources;
  }

  static Matrix<float> gather(const SideBySide& sources, std::span<const size_t> rows) {
    Matrix<float> inputs(rows.size(), width_of(sources));
    for (size_t i = 0; i < rows.size(); ++i) {
      auto to = inputs.row(i).begin();
      for (const auto& source : sources) {
        to = std::copy_n(source.row(rows[i]).begin(), source.cols, to);
      }
    }
    return inputs;
  }

  // Ridge regression of the logarithms on inputs of unit variance. Their mean is left out, so that
  // the factors are about 1.
  Result<> regress(const Matrix<float>& inputs, const Matrix<float>& received) {
    const double ridge = 1e-2 * double(inputs.rows());
    const auto mean = column_means(inputs);
    Matrix<double> products = scatter(inputs, mean);
    Matrix<double> cross = cross_scatter(inputs, mean, received, column_means(received));
    const size_t n = products.rows();
    std::vector<double> unit(n);
    for (size_t i = 0; i < n; ++i) {
      const double deviation = std::sqrt(products(i, i) / double(inputs.rows()));
      unit[i] = deviation > 1e-6 ? 1 / deviation : 0;
    }
    for (size_t i = 0; i < n; ++i) {
      for (size_t j = 0; j < n; ++j) products(i, j) *= unit[i] * unit[j];
      for (double& c : cross.row(i)) c *= unit[i];
      products(i, i) += ridge;
    }
    KVS_ASSIGN(const Matrix<double> solved, solve_spd(std::move(products), std::move(cross)));
    weights_ = Matrix<float>(received.cols(), n);
    bias_.assign(received.cols(), 0);
    for (size_t h = 0; h < received.cols(); ++h) {
      double at_mean = 0;
      for (size_t i = 0; i < n; ++i) {
        weights_(h, i) = from_half(to_half(static_cast<float>(solved(i, h) * unit[i])));
        at_mean += weights_(h, i) * mean[i];
      }
      bias_[h] = static_cast<float>(-at_mean);
    }
    return {};
  }

  // The factors of the heads: [rows x heads].
  Result<Matrix<float>> factors(const Context& context, size_t rows) const {
    const auto sources = read(context);
    const size_t width = width_of(sources);
    if (width != weights_.cols() || weights_.rows() != context.unit.head_dims.size()) {
      return Error{
          ErrorKind::format,
          fmt::format("focus reads {} values per token for {} heads; {} and {} are there",
                      weights_.cols(), weights_.rows(), width, context.unit.head_dims.size())};
    }
    Matrix<float> made(rows, weights_.rows());
    multiply(sources, weights_, made);
    const auto half = static_cast<float>(strength(context.unit.kind) / 2);
    const auto limit = static_cast<float>(params_.limit);
    for (size_t r = 0; r < rows; ++r) {
      for (size_t h = 0; h < made.cols(); ++h) {
        made(r, h) = std::clamp(std::exp(half * (made(r, h) + bias_[h])), 1 / limit, limit);
      }
    }
    return made;
  }

  template <class Body>
  Result<> scale(Rows& rows, const Context& context, const Body& body) const {
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

  Params params_;
  Matrix<float> weights_;  // [heads x values read] of the logarithm; empty: nothing is scaled
  std::vector<float> bias_;
};

StageInfo::Traits traits(const KeyValues& pairs) {
  StageInfo::Traits t;
  const auto params = parse_params<Params>("focus", pairs);
  if (params.ok() && (params->keys > 0 || params->values > 0)) {
    t.history = 1;
    t.attention = true;
  }
  return t;
}

}  // namespace

StageInfo focus_stage() {
  StageInfo info;
  info.name = "focus";
  info.group = "transform";
  info.summary = "Scales rows by the attention their token will get, as the layers below tell.";
  info.params = describe<Params>();
  info.make = stage_maker<Focus, Params>("focus");
  info.traits = traits;
  return info;
}

}  // namespace kvsplice::codec
