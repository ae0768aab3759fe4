// The flow's training: what is left out by a PCA behind it.
#include "codec/warp/flow/flow.h"
#include "codec/warp/training_fit.h"
#include "fit/stage_fit.h"
#include "train/bottleneck.h"

namespace kvsplice::codec {

namespace {

Result<State> fit_flow(const FlowParams& params, const Rows& rows, const FitContext& context) {
  if (rows.values.rows() == 0) return Error{ErrorKind::numeric, "no rows to learn a warp from"};
  const float scale = unit_scale(rows.values);
  KVS_ASSIGN(auto flow, functions::Flow<float>::create(params.shape(rows.values.cols()),
                                                       uint64_t(params.training.seed)));
  train::WarpFitOptions options = options_of(params.training);
  options.clip = params.clip;
  using Gradient = train::Whitening::Gradient;
  const train::Whitening whitening{
      params.weight, params.regulariser == "working" ? Gradient::working : Gradient::none};
  KVS_TRY(train::fit_through_pca(flow, divided(rows.values, scale), size_t(params.training.rank),
                                 options, whitening, context.progress));
  return save_flow(flow, scale);
}

}  // namespace

StageFit flow_fit() { return stage_fit<FlowParams>("flow", fit_flow); }

}  // namespace kvsplice::codec
