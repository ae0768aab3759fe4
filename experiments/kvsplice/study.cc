#include "experiments/kvsplice/study.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "codec/entropy_meter.h"
#include "experiments/kvsplice/one_head.h"
#include "train/bottleneck.h"
#include "train/flow.h"
#include "train/principal_curve.h"
#include "train/spline.h"

namespace kvsplice::experiment {

namespace {

using train::Flow;
using train::GeometricMix;
using train::Pca;
using train::Spline;

// Of a trained warp: PCA of the warped training rows, errors on the test rows.
template <class Warp>
Result<std::vector<double>> test_errors(const Warp& warp, const GeometricMix& mix,
                                        const std::vector<int>& ks) {
  Matrix<float> warped(mix.train.rows(), mix.train.cols());
  warp.forward(mix.train, warped);
  const size_t most = size_t(*std::max_element(ks.begin(), ks.end()));
  KVS_ASSIGN(const Pca pca, train::fit_pca(warped, most));
  std::vector<double> errors;
  for (int k : ks) errors.push_back(train::warped_pca_error(warp, pca, size_t(k), mix.test));
  return errors;
}

struct NoWarp {
  void forward(MatrixView<const float> x, MatrixView<float> z) const {
    for (size_t r = 0; r < x.rows; ++r) std::copy_n(&x(r, 0), x.cols, &z(r, 0));
  }
  void inverse(MatrixView<const float> z, MatrixView<float> x) const { forward(z, x); }
};

Result<std::vector<double>> spline_errors(const GeometricMix& mix, const StudyOptions& o,
                                          uint64_t seed, const Progress& progress) {
  Spline<float> spline(train::quantile_knots(mix.train, 7));
  train::WarpFitOptions options;
  options.epochs = size_t(o.spline_epochs);
  options.optimiser.rate = 2e-3;
  options.seed = seed;
  KVS_TRY(train::fit_through_pca(spline, mix.train, size_t(o.rank), options, {}, progress));
  return test_errors(spline, mix, o.k);
}

Result<std::vector<double>> flow_errors(const GeometricMix& mix, const StudyOptions& o,
                                        uint64_t seed, const Progress& progress) {
  KVS_ASSIGN(auto flow, Flow<float>::create({mix.train.cols(), 3, 128}, seed));
  train::WarpFitOptions options;
  options.epochs = size_t(o.flow_epochs);
  options.clip = 1;
  options.seed = seed;
  using Gradient = train::Whitening::Gradient;
  const train::Whitening whitening{1e-4,
                                   o.regulariser == "working" ? Gradient::working : Gradient::none};
  KVS_TRY(train::fit_through_pca(flow, mix.train, size_t(o.rank), options, whitening, progress));
  return test_errors(flow, mix, o.k);
}

}  // namespace

double Errors::mean(size_t k) const {
  double sum = 0;
  for (const auto& errors : by_seed) sum += errors[k];
  return sum / double(by_seed.size());
}

double Errors::deviation(size_t k) const {
  if (by_seed.size() < 2) return 0;
  double squares = 0;
  for (const auto& errors : by_seed) squares += std::pow(errors[k] - mean(k), 2);
  return std::sqrt(squares / double(by_seed.size() - 1));
}

Result<Warps> compare_warps(const GeometricMix& mix, const StudyOptions& options,
                            const Progress& progress) {
  Warps warps;
  KVS_ASSIGN(warps.pca, test_errors(NoWarp{}, mix, options.k));
  for (int seed = 0; seed < options.seeds; ++seed) {
    KVS_TRY(progress.step("training warps", size_t(seed), size_t(options.seeds)));
    KVS_ASSIGN(auto spline, spline_errors(mix, options, uint64_t(seed), {}));
    KVS_ASSIGN(auto flow, flow_errors(mix, options, uint64_t(seed), {}));
    warps.spline.by_seed.push_back(std::move(spline));
    warps.flow.by_seed.push_back(std::move(flow));
  }
  return warps;
}

Result<std::vector<NumbersRow>> compare_numbers(const GeometricMix& mix, const Progress& progress) {
  KVS_ASSIGN(const auto curve, train::fit_principal_curve(mix.train, {}, progress));
  const std::vector<float> places = curve.nearest(mix.test);
  Matrix<float> back(mix.test.rows(), mix.test.cols());
  for (size_t r = 0; r < back.rows(); ++r) curve.point(places[r], back.row(r));
  std::vector<NumbersRow> rows = {{"curve", 1, train::mean_squared_error(back, mix.test)}};
  const std::vector<int> ks = {1, 2, 4, 8, 10, 12};
  KVS_ASSIGN(const auto errors, test_errors(NoWarp{}, mix, ks));
  for (size_t i = 0; i < ks.size(); ++i) rows.push_back({"pca", size_t(ks[i]), errors[i]});
  return rows;
}

Result<std::vector<RateRow>> compare_rates(const GeometricMix& mix, const StudyOptions& options,
                                           const Progress& progress) {
  const std::string spline = fmt::format("spline(epochs={},rank={}", options.spline_epochs,
                                         std::min<size_t>(size_t(options.rank), mix.train.cols()));
  const std::string warps[] = {"", spline + ") | ", spline + ",loss=rate,error=0.03) | ",
                               spline + ",loss=rate,error=0.1) | "};
  const codec::CacheBlock test = block_of(mix.test);
  std::vector<RateRow> rows;
  for (const std::string& warp : warps) {
    for (const char* delta : {"0.05", "0.1", "0.2", "0.4"}) {
      KVS_TRY(progress.step("measuring rates", rows.size(), 4 * std::size(warps)));
      const std::string pipeline = fmt::format("{}klt | step(delta={})", warp, delta);
      KVS_ASSIGN(const auto codec, fit_one_head(pipeline, mix.train, {}));
      codec::EntropyMeter meter;
      KVS_ASSIGN(const auto back, codec.roundtrip(test, nullptr, &meter));
      rows.push_back({pipeline, meter.bits(Kind::value) / double(mix.test.size()),
                      train::mean_squared_error(back.values[0], mix.test)});
    }
  }
  return rows;
}

Result<std::vector<MemoryRow>> count_bytes(const StudyOptions& options) {
  constexpr size_t kTokens = 256, kDim = 64;
  // The seed's own figures: f32 values of 256 tokens, pruned to a share, then k of 64 columns.
  std::vector<MemoryRow> rows = {
      {"seed: baseline", 65536, 0},       {"seed: pruned", 25024, 0},
      {"seed: pruned, k = 32", 12512, 0}, {"seed: pruned, k = 16", 6256, 0},
      {"seed: pruned, k = 8", 3128, 0},   {"f16", 2.0 * kTokens * kDim, 0}};
  KVS_ASSIGN(const GeometricMix mix, train::geometric_mix({2048, kDim, 0.03, 13}));
  const codec::CacheBlock block = block_of(mix.test.view().row_range(0, kTokens));
  for (int k : {32, 16, 8}) {
    const auto pipeline = fmt::format("spline(epochs={}) | pca(rank={})", options.spline_epochs, k);
    KVS_ASSIGN(const auto codec, fit_one_head(pipeline, mix.train, {}));
    KVS_ASSIGN(const Bytes bytes, codec.encode(block, nullptr));
    KVS_ASSIGN(const auto payloads, codec.payloads(bytes));
    rows.push_back({fmt::format("measured: k = {}", k), double(payloads.back().size()),
                    double(codec.state_bytes())});
  }
  return rows;
}

}  // namespace kvsplice::experiment
