// Epochs of the sine network by the recipe: medium, 2048 x 128, full batch, Adam.
#include <fmt/format.h>

#include <chrono>

#include "bench/bench.h"
#include "bench/waves.h"
#include "functions/siren.h"

namespace kvsplice::bench {

namespace {

constexpr size_t kRows = 2048, kColumns = 128, kEpochs = 100, kSeeds = 5;

// Products forward, and twice as many back.
double flops() {
  double products = 0;
  for (const auto& [in, out] : functions::layer_sizes({256, 2, kColumns, 30})) {
    products += double(in) * double(out);
  }
  return 6 * kRows * products;
}

Result<std::vector<Measurement>> run(Surroundings& here) {
  const Matrix<float> targets = waves(kRows, kColumns);
  double best = 1e300, least = 1e300, most = 0;
  for (size_t seed = 0; seed < kSeeds; ++seed) {
    functions::SirenOptions options;
    options.epochs = kEpochs;
    options.seed = seed;
    const auto begun = std::chrono::steady_clock::now();
    KVS_ASSIGN(const auto fit, functions::fit_siren(targets, {}, options, {}));
    const std::chrono::duration<double, std::milli> spent =
        std::chrono::steady_clock::now() - begun;
    best = std::min(best, spent.count() / double(kEpochs));
    least = std::min(least, fit.losses.back());
    most = std::max(most, fit.losses.back());
  }
  return std::vector<Measurement>{
      {fmt::format("2048 x 128; an epoch; loss {:.4f} ... {:.4f} after {}; {} seeds", least, most,
                   kEpochs, kSeeds),
       best, here.limit_ms(flops(), 0),
       here.peers("siren_torch", {std::to_string(kRows), std::to_string(kColumns),
                                  std::to_string(kEpochs), std::to_string(kSeeds)})}};
}

}  // namespace

BenchCase siren_adam_bench() {
  return {"siren-adam", "an epoch of the medium sine network by the recipe", run};
}

}  // namespace kvsplice::bench
