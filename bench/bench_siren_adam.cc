// Epochs of the sine network by the recipe: medium, 2048 x 128, full batch, Adam.
#include "bench/bench.h"
#include "bench/waves.h"
#include "train/siren.h"

namespace kvsplice::bench {

namespace {

constexpr size_t kRows = 2048, kColumns = 128, kEpochs = 10;

// Products forward, and twice as many back.
double flops() {
  double products = 0;
  for (const auto& [in, out] : train::layer_sizes({256, 2, kColumns, 30})) {
    products += double(in) * double(out);
  }
  return 6 * kRows * products;
}

Result<std::vector<Measurement>> run(Surroundings& here) {
  const Matrix<float> targets = waves(kRows, kColumns);
  train::SirenOptions options;
  options.epochs = kEpochs;
  const double limit = here.limit_ms(flops(), 0);
  std::vector<Measurement> all;
  for (size_t tensors : {1, 2}) {
    const std::vector<MatrixView<const float>> many(tensors, targets.view());
    bool fitted = true;
    const double ms =
        best_ms([&] { fitted = fitted && train::fit_sirens(many, {}, options, {}).ok(); });
    if (!fitted) return Error{ErrorKind::numeric, "siren-adam: the fit failed"};
    all.push_back({tensors == 1 ? "2048 x 128, one epoch" : "2048 x 128, one epoch of two tensors",
                   ms / double(kEpochs), limit * double(tensors)});
  }
  all[0].peers = here.peers("siren_torch", {std::to_string(kRows), std::to_string(kColumns), "10"});
  return all;
}

}  // namespace

BenchCase siren_adam_bench() {
  return {"siren-adam", "an epoch of the medium sine network by the recipe", run};
}

}  // namespace kvsplice::bench
