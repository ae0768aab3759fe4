// The KVSplice seed's second warp: a RealNVP flow, trained so that a PCA behind it loses less.
#include "train/flow.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <optional>

#include "codec/checks.h"
#include "codec/make_stage.h"
#include "codec/warp/training.h"
#include "codec/warp/unit_scale.h"
#include "train/bottleneck.h"

namespace kvsplice::codec {

namespace {

using train::Flow;

struct Params {
  int blocks = 3;
  int hidden = 128;
  WarpTraining training{.epochs = 12, .lr = 1e-3};
  double clip = 1;
  std::string regulariser = "reference";
  double weight = 1e-4;

  template <class V>
  void visit(V&& v) {
    v("blocks", blocks, "couplings, each with a permutation behind it", Range{1, 64});
    v("hidden", hidden, "width of the networks' two hidden layers", Range{1, 4096});
    training.visit(v);
    v("clip", clip, "largest norm of a gradient; 0: any", Range{0, 1e9});
    v("regulariser", regulariser,
      "pull towards mean 0 and variance 1: as the seed has it, without gradient, or working",
      Choice{"reference", "working"});
    v("weight", weight, "of the regulariser in the loss", Range{0, 1e6});
  }
};

class FlowStage : public Stage {
 public:
  explicit FlowStage(const Params& params) : params_(params) {}

  Result<> fit(const Rows& rows, const Context& context) override {
    if (rows.values.rows() == 0) return Error{ErrorKind::numeric, "no rows to learn a warp from"};
    const float scale = unit_scale(rows.values);
    KVS_ASSIGN(auto flow,
               Flow<float>::create(shape(rows.values.cols()), uint64_t(params_.training.seed)));
    train::WarpFitOptions options = params_.training.options();
    options.clip = params_.clip;
    using Gradient = train::Whitening::Gradient;
    const train::Whitening whitening{
        params_.weight, params_.regulariser == "working" ? Gradient::working : Gradient::none};
    KVS_TRY(train::fit_through_pca(flow, divided(rows.values, scale), size_t(params_.training.rank),
                                   options, whitening, context.progress));
    scale_ = scale;
    flow_ = std::move(flow);
    return {};
  }

  Result<> encode(Rows& rows, const Context&, ByteWriter&) const override {
    KVS_TRY(check_fitted(rows, width()));
    pass(rows.values, &Flow<float>::forward);
    return {};
  }

  Result<> decode(Rows& rows, size_t count, const Context&, ByteReader&) const override {
    KVS_TRY(check_values(rows, count, width()));
    pass(rows.values, &Flow<float>::inverse);
    return {};
  }

  State save() const override {
    if (!flow_) return {};
    const auto& order = flow_->permutations();
    const auto parameters = flow_->parameters();
    State state;
    state["scale"] = {{1}, {scale_}};
    state["permutations"] = {{flow_->shape().blocks, width()}, {order.begin(), order.end()}};
    state["parameters"] = {{parameters.size()}, {parameters.begin(), parameters.end()}};
    return state;
  }

  Result<> load(const State& state, size_t width) override {
    const train::FlowShape s = shape(width);
    KVS_TRY(Flow<float>::check(s));
    KVS_ASSIGN(const StateArray* scale, find_array(state, "scale", {1}));
    KVS_ASSIGN(const StateArray* order, find_array(state, "permutations", {s.blocks, width}));
    KVS_ASSIGN(const StateArray* parameters,
               find_array(state, "parameters", {Flow<float>::parameter_count(s)}));
    if (!(scale->values[0] > 0)) {
      return Error{ErrorKind::format, fmt::format("scale {} of a flow; above 0", scale->values[0])};
    }
    for (size_t b = 0; b < s.blocks; ++b) {
      KVS_TRY(check_permutation(std::span(order->values).subspan(b * width, width), b));
    }
    Flow<float> flow(s, {order->values.begin(), order->values.end()});
    std::copy(parameters->values.begin(), parameters->values.end(), flow.parameters().begin());
    scale_ = scale->values[0];
    flow_ = std::move(flow);
    return {};
  }

 private:
  size_t width() const { return flow_ ? flow_->dim() : 0; }
  train::FlowShape shape(size_t width) const {
    return {width, size_t(params_.blocks), size_t(params_.hidden)};
  }

  static Result<> check_permutation(std::span<const float> order, size_t block) {
    std::vector<bool> seen(order.size());
    for (float at : order) {
      const bool index = at >= 0 && at < float(order.size()) && at == std::floor(at);
      if (!index || seen[size_t(at)]) {
        return Error{ErrorKind::format, fmt::format("row {} of 'permutations' is none", block)};
      }
      seen[size_t(at)] = true;
    }
    return {};
  }

  using Direction = void (Flow<float>::*)(MatrixView<const float>, MatrixView<float>) const;
  void pass(Matrix<float>& x, Direction direction) const {
    if (!flow_) return;
    for (float& v : x.flat()) v /= scale_;
    ((*flow_).*direction)(x, x);
    for (float& v : x.flat()) v *= scale_;
  }

  Params params_;
  float scale_ = 1;
  std::optional<Flow<float>> flow_;
};

}  // namespace

StageInfo flow_stage() {
  StageInfo info;
  info.name = "flow";
  info.group = "warp";
  info.summary = "Warps rows by affine couplings (RealNVP), learnt for the PCA behind it.";
  info.params = describe<Params>();
  info.make = stage_maker<FlowStage, Params>("flow");
  return info;
}

}  // namespace kvsplice::codec
