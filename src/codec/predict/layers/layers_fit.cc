// Least squares on what the decoder will have, kept only if it pays on rows that were held out.
#include <array>

#include "codec/checks.h"
#include "codec/predict/layers/predictor_fit.h"
#include "core/threads.h"
#include "fit/stage_fit.h"

namespace kvsplice::codec {

namespace {

Result<State> fit_layers(const LayersParams& params, const Rows& rows, const FitContext& context) {
  if (rows.values.rows() == 0) return Error{ErrorKind::numeric, "no rows to learn from"};
  KVS_TRY(check_finite(rows.values));
  const std::vector<layers::Source> sources = layers::sources(params, context);
  if (sources.empty()) return State();
  const layers::SolveOptions options{params.rank, params.noise, params.ridge};
  const layers::Moments moments =
      layers::measure(sources, rows.values, context.shared->of<layers::SharedProducts>());
  std::array<Result<layers::Predictor>, 2> solved;  // without rows held out, and from all
  parallel_for(2, [&](size_t all) { solved[all] = layers::solve(moments, all == 1, options); });
  KVS_ASSIGN(const layers::Predictor trial, std::move(solved[0]));
  if (layers::held_out_bits(moments, &trial) >= layers::held_out_bits(moments, nullptr)) {
    return State();
  }
  KVS_ASSIGN(const layers::Predictor predictor, std::move(solved[1]));
  return predictor.save();
}

}  // namespace

StageFit layers_fit() { return stage_fit<LayersParams>("layers", fit_layers); }

}  // namespace kvsplice::codec
