// The sine network to the recipe's final loss: 2,000 epochs of Adam against variable projection.
#include <fmt/format.h>

#include <chrono>

#include "bench/bench.h"
#include "bench/waves.h"
#include "functions/siren.h"

namespace kvsplice::bench {

namespace {

constexpr size_t kRows = 2048, kColumns = 128, kRecipeEpochs = 2000, kMostEpochs = 50;

struct Timed {
  double ms = 0, loss = 0;
};

Result<Timed> fit(const Matrix<float>& targets, const functions::SirenOptions& options) {
  const auto begun = std::chrono::steady_clock::now();
  KVS_ASSIGN(const auto fit, functions::fit_siren(targets, {}, options, {}));
  const std::chrono::duration<double, std::milli> spent = std::chrono::steady_clock::now() - begun;
  return Timed{spent.count(), fit.losses.back()};
}

// The fewest epochs whose loss is no more than `loss`.
Result<std::pair<size_t, Timed>> project(const Matrix<float>& targets, double loss) {
  functions::SirenOptions options;
  options.trainer = functions::SirenOptions::Trainer::varpro;
  for (size_t epochs = 0; epochs <= kMostEpochs; ++epochs) {
    options.epochs = epochs;
    KVS_ASSIGN(Timed first, fit(targets, options));
    if (first.loss > loss) continue;
    KVS_ASSIGN(const Timed second, fit(targets, options));
    first.ms = std::min(first.ms, second.ms);
    return std::pair{epochs, first};
  }
  return Error{ErrorKind::numeric,
               fmt::format("siren-varpro: {} epochs do not reach {:.4f}", kMostEpochs, loss)};
}

Result<std::vector<Measurement>> run(Surroundings& here) {
  const Matrix<float> targets = waves(kRows, kColumns);
  functions::SirenOptions recipe;
  recipe.epochs = kRecipeEpochs;
  KVS_ASSIGN(const Timed adam, fit(targets, recipe));
  KVS_ASSIGN(const auto found, project(targets, adam.loss));
  const auto& [epochs, projected] = found;
  // Solving counts at the single-precision limit too, though half of it is done in double.
  const double h = 257, d = kColumns, n = kRows;
  const double solve = n * h * h + 2 * n * h * d, forward = 2 * n * 2 * 256 * 256;
  const double back = 2 * forward + 6 * n * 256 * d;
  const double limit = double(epochs + 1) * (solve + forward) + double(epochs) * back;
  auto peers = here.peers("siren_torch", {std::to_string(kRows), std::to_string(kColumns), "10"});
  for (Peer& peer : peers) {
    peer.name = fmt::format("{}; {} times an epoch", peer.name.substr(0, peer.name.find(';')),
                            kRecipeEpochs);
    peer.ms *= double(kRecipeEpochs);
  }
  peers.push_back({fmt::format("the recipe here, loss {:.4f}", adam.loss), adam.ms});
  return std::vector<Measurement>{
      {fmt::format("2048 x 128; loss {:.4f} by {} epochs", projected.loss, epochs), projected.ms,
       here.limit_ms(limit, 0), peers}};
}

}  // namespace

BenchCase siren_varpro_bench() {
  return {"siren-varpro", "the medium sine network to the recipe's final loss", run};
}

}  // namespace kvsplice::bench
