// The spline's training, for a PCA behind it or for the bits at a given error.
#include <algorithm>

#include "codec/warp/spline/spline.h"
#include "codec/warp/training_fit.h"
#include "fit/stage_fit.h"
#include "train/bottleneck.h"
#include "train/quantile_knots.h"
#include "train/rate_loss.h"

namespace kvsplice::codec {

namespace {

using functions::Spline;

Result<> train_spline(const SplineParams& params, Spline<float>& spline, const Matrix<float>& x,
                      const Progress& progress) {
  const train::WarpFitOptions options = options_of(params.training);
  if (params.loss == "rate") {
    KVS_TRY(train::fit_for_rate(spline, x, params.error, options, progress));
  } else {
    KVS_TRY(train::fit_through_pca(spline, x, size_t(params.training.rank), options, {}, progress));
  }
  return {};
}

Result<State> fit_spline(const SplineParams& params, const Rows& rows, const FitContext& context) {
  if (rows.values.rows() == 0) return Error{ErrorKind::numeric, "no rows to learn a warp from"};
  // Trained on rows of about unit deviation; a power of two leaves the digits as they are.
  const float scale = unit_scale(rows.values);
  const Matrix<float> x = divided(rows.values, scale);
  Spline<float> spline(train::quantile_knots(x, size_t(params.knots)));
  KVS_TRY(train_spline(params, spline, x, context.progress));
  Matrix<float> knots = spline.knots();
  for (float& k : knots.flat()) k *= scale;
  const auto parameters = spline.parameters();
  for (float& shift : parameters.last(x.cols())) shift *= scale;
  Spline<float> scaled(std::move(knots));
  std::copy(parameters.begin(), parameters.end(), scaled.parameters().begin());
  return save_spline(scaled);
}

}  // namespace

StageFit spline_fit() { return stage_fit<SplineParams>("spline", fit_spline); }

}  // namespace kvsplice::codec
