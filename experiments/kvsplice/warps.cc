#include "experiments/kvsplice/warps.h"

#include <algorithm>
#include <memory>

#include "codec/warp/training_fit.h"
#include "functions/flow.h"
#include "functions/spline.h"
#include "train/bottleneck.h"
#include "train/quantile_knots.h"
#include "train/rate_loss.h"

namespace kvsplice::experiment {

namespace {

using functions::Flow;
using functions::Spline;

train::WarpFitOptions spline_fit(const StudyOptions& options, uint64_t seed) {
  train::WarpFitOptions fit;
  fit.epochs = size_t(options.spline_epochs);
  fit.optimiser.rate = 2e-3;
  fit.seed = seed;
  return fit;
}

// Of a warp that was trained on rows divided by `scale`.
template <class W>
WarpMap map_of(W trained, float scale) {
  const auto warp = std::make_shared<const W>(std::move(trained));
  const auto forward = [warp, scale](MatrixView<const float> x, MatrixView<float> z) {
    warp->forward(codec::divided(x, scale), z);
  };
  const auto inverse = [warp, scale](MatrixView<const float> z, MatrixView<float> x) {
    warp->inverse(z, x);
    for (size_t r = 0; r < x.rows; ++r) {
      for (float& value : x.row(r)) value *= scale;
    }
  };
  return {forward, inverse};
}

void copy_rows(MatrixView<const float> from, MatrixView<float> to) {
  for (size_t r = 0; r < from.rows; ++r) std::copy_n(&from(r, 0), from.cols, &to(r, 0));
}

Result<WarpMap> train_flow(const Matrix<float>& rows, float scale, size_t rank,
                           const StudyOptions& options, uint64_t seed) {
  KVS_ASSIGN(auto flow, Flow<float>::create({rows.cols(), 3, 128}, seed));
  train::WarpFitOptions fit;
  fit.epochs = size_t(options.flow_epochs);
  fit.clip = 1;
  fit.seed = seed;
  using Gradient = train::Whitening::Gradient;
  const bool works = options.regulariser == "working";
  const train::Whitening whitening{1e-4, works ? Gradient::working : Gradient::none};
  KVS_TRY(train::fit_through_pca(flow, rows, rank, fit, whitening));
  return map_of(std::move(flow), scale);
}

}  // namespace

Result<WarpMap> train_warp(Warp warp, MatrixView<const float> rows, size_t rank,
                           const StudyOptions& options, uint64_t seed) {
  if (warp == Warp::none) return WarpMap{copy_rows, copy_rows};
  const float scale = codec::unit_scale(rows);
  const Matrix<float> x = codec::divided(rows, scale);
  if (warp == Warp::flow) return train_flow(x, scale, rank, options, seed);
  Spline<float> spline(train::quantile_knots(x, 7));
  KVS_TRY(train::fit_through_pca(spline, x, rank, spline_fit(options, seed)));
  return map_of(std::move(spline), scale);
}

Result<WarpMap> train_for_rate(MatrixView<const float> rows, double error,
                               const StudyOptions& options) {
  const float scale = codec::unit_scale(rows);
  const Matrix<float> x = codec::divided(rows, scale);
  Spline<float> spline(train::quantile_knots(x, 7));
  KVS_TRY(train::fit_for_rate(spline, x, error, spline_fit(options, 0)));
  return map_of(std::move(spline), scale);
}

Result<WarpedPca> WarpedPca::fit(WarpMap warp, MatrixView<const float> rows, size_t rank) {
  Matrix<float> warped(rows.rows, rows.cols);
  warp.forward(rows, warped);
  KVS_ASSIGN(auto pca, train::fit_pca(warped, rank));
  return WarpedPca{std::move(warp), std::move(pca)};
}

Matrix<float> WarpedPca::through(size_t rank, MatrixView<const float> rows) const {
  Matrix<float> z(rows.rows, rows.cols), x(rows.rows, rows.cols);
  warp.forward(rows, z);
  train::project(pca, rank, z);
  warp.inverse(z, x);
  return x;
}

Result<std::vector<double>> test_errors(WarpMap warp, MatrixView<const float> train,
                                        MatrixView<const float> test, const std::vector<int>& ks) {
  const size_t most = size_t(*std::max_element(ks.begin(), ks.end()));
  KVS_ASSIGN(const auto coder, WarpedPca::fit(std::move(warp), train, most));
  std::vector<double> errors;
  for (int k : ks) {
    errors.push_back(train::mean_squared_error(coder.through(size_t(k), test), test));
  }
  return errors;
}

}  // namespace kvsplice::experiment
