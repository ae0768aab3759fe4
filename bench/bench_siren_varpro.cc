// The same network by variable projection, until its loss is below what the recipe reaches.
#include <fmt/format.h>

#include "bench/bench.h"
#include "bench/waves.h"
#include "train/siren.h"

namespace kvsplice::bench {

namespace {

constexpr size_t kRows = 2048, kColumns = 128;
// Of the recipe after 2,000 epochs on these rows, the lowest of seeds 0 to 4:
// bench/peers/siren_torch.py 2048 128 2000 5
constexpr double kRecipeLoss = 0.0;
constexpr size_t kRecipeEpochs = 2000;

Result<std::vector<Measurement>> run(Surroundings& here) {
  const Matrix<float> targets = waves(kRows, kColumns);
  train::SirenOptions options;
  options.trainer = train::SirenOptions::Trainer::varpro;
  double loss = 1;
  for (options.epochs = 0; loss > kRecipeLoss; options.epochs = *options.epochs + 1) {
    if (*options.epochs > 50)
      return Error{ErrorKind::numeric, "siren-varpro: 50 epochs were too few"};
    KVS_ASSIGN(const auto fit, train::fit_siren(targets, {}, options, {}));
    loss = fit.losses.back();
    if (loss <= kRecipeLoss) break;
  }
  const double ms =
      best_ms([&] { static_cast<void>(train::fit_siren(targets, {}, options, {}).ok()); });
  // The last epoch's features and read-out; double precision at half the speed.
  const double h = 257, d = kColumns, n = kRows, epochs = double(*options.epochs);
  const double solve = 2 * (n * h * h + 2 * n * h * d), forward = 4 * n * 256 * 256;
  const double back = 2 * forward + 6 * n * 256 * d;
  const double limit = here.limit_ms((epochs + 1) * (solve + 2 * forward) + epochs * back, 0);
  auto peers = here.peers("siren_torch", {std::to_string(kRows), std::to_string(kColumns), "10"});
  for (Peer& peer : peers) {
    peer.name += fmt::format(", {} epochs", kRecipeEpochs);
    peer.ms *= double(kRecipeEpochs);
  }
  return std::vector<Measurement>{
      {fmt::format("2048 x 128, loss {:.4f} by {} epochs", loss, *options.epochs), ms, limit,
       peers}};
}

}  // namespace

BenchCase siren_varpro_bench() {
  return {"siren-varpro", "the medium sine network to the recipe's final loss", run};
}

}  // namespace kvsplice::bench
