// Training of the spline warp by the seed's recipe: GeometricMix, 20 epochs.
#include "bench/bench.h"
#include "functions/spline.h"
#include "train/bottleneck.h"
#include "train/geometric_mix.h"
#include "train/quantile_knots.h"

namespace kvsplice::bench {

namespace {

constexpr double kEpochs = 20, kRows = 4500, kDim = 128, kRank = 16;

// Of an epoch: the covariance, and per row two projections there and two back.
double limit(const Surroundings& here) {
  const double flops = kRows * kDim * kDim + kRows * 4 * 2 * 2 * kDim * kRank;
  return here.limit_ms(kEpochs * flops, kEpochs * kRows * kDim * sizeof(float) * 2);
}

Result<std::vector<Measurement>> run(Surroundings& here) {
  KVS_ASSIGN(const auto mix, train::geometric_mix());
  train::WarpFitOptions options;
  options.optimiser.rate = 2e-3;
  bool fitted = true;
  const double ms = best_ms([&] {
    functions::Spline<float> spline(train::quantile_knots(mix.train, 7));
    fitted = fitted && train::fit_through_pca(spline, mix.train, 16, options).ok();
  });
  if (!fitted) return Error{ErrorKind::numeric, "spline-fit: no convergence of a PCA"};
  return std::vector<Measurement>{
      {"4500 x 128, 20 epochs", ms, limit(here), here.peers("warps", {"spline-fit", "20"})}};
}

}  // namespace

BenchCase spline_fit_bench() {
  return {"spline-fit", "training of the spline warp through a PCA of rank 16", run};
}

}  // namespace kvsplice::bench
