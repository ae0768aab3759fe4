// The KVSplice seed's second warp: a RealNVP flow, trained so that a PCA behind it loses less.
#include "codec/warp/flow/flow.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <optional>

#include "codec/checks.h"
#include "codec/make_stage.h"

namespace kvsplice::codec {

using functions::Flow;

namespace {

class FlowStage : public Stage {
 public:
  explicit FlowStage(const FlowParams& params) : params_(params) {}

  Result<> encode(Rows& rows, const CodeContext&, ByteWriter&) const override {
    KVS_TRY(check_fitted(rows, width()));
    pass(rows.values, &Flow<float>::forward);
    return {};
  }

  Result<> decode(Rows& rows, size_t count, const CodeContext&, ByteReader&) const override {
    KVS_TRY(check_values(rows, count, width()));
    pass(rows.values, &Flow<float>::inverse);
    return {};
  }

  State save() const override { return flow_ ? save_flow(*flow_, scale_) : State{}; }

  Result<> load(const State& state, size_t width) override {
    const functions::FlowShape s = params_.shape(width);
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

  FlowParams params_;
  float scale_ = 1;
  std::optional<Flow<float>> flow_;
};

}  // namespace

State save_flow(const Flow<float>& flow, float scale) {
  const auto& order = flow.permutations();
  const auto parameters = flow.parameters();
  State state;
  state["scale"] = {{1}, {scale}};
  state["permutations"] = {{flow.shape().blocks, flow.dim()}, {order.begin(), order.end()}};
  state["parameters"] = {{parameters.size()}, {parameters.begin(), parameters.end()}};
  return state;
}

StageInfo flow_stage() {
  StageInfo info;
  info.name = "flow";
  info.group = "warp";
  info.summary = "Warps rows by affine couplings (RealNVP), learnt for the PCA behind it.";
  info.params = describe<FlowParams>();
  info.make = stage_maker<FlowStage, FlowParams>("flow");
  return info;
}

}  // namespace kvsplice::codec
