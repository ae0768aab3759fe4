// Training of the flow warp by the seed's recipe: GeometricMix, 12 epochs.
#include "bench/bench.h"
#include "functions/flow.h"
#include "train/bottleneck.h"
#include "train/geometric_mix.h"

namespace kvsplice::bench {

namespace {

constexpr double kEpochs = 12, kRows = 4500;

Result<std::vector<Measurement>> run(Surroundings& here) {
  KVS_ASSIGN(const auto mix, train::geometric_mix());
  const functions::FlowShape shape{mix.train.cols(), 3, 128};
  train::WarpFitOptions options;
  options.epochs = size_t(kEpochs);
  options.clip = 1;
  bool fitted = true;
  const double ms = best_ms([&] {
    auto flow = functions::Flow<float>::create(shape, 0);
    fitted =
        fitted && flow.ok() && train::fit_through_pca(*flow, mix.train, 16, options, {1e-4}).ok();
  });
  if (!fitted) return Error{ErrorKind::numeric, "flow-fit: no convergence of a PCA"};
  // A multiply-add per weight and pass; passes: there and back with two each for their gradients,
  // and the warped rows of every epoch.
  const double weights = double(functions::Flow<float>::parameter_count(shape));
  const double flops = kEpochs * kRows * weights * 2 * (3 + 3 + 1);
  return std::vector<Measurement>{{"4500 x 128, 12 epochs", ms, here.limit_ms(flops, 0),
                                   here.peers("warps", {"flow-fit", "12"})}};
}

}  // namespace

BenchCase flow_fit_bench() {
  return {"flow-fit", "training of the flow warp through a PCA of rank 16", run};
}

}  // namespace kvsplice::bench
