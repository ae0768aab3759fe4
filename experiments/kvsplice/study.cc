#include "experiments/kvsplice/study.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "codec/entropy_meter.h"
#include "experiments/kvsplice/rows.h"
#include "linalg/linalg.h"
#include "train/fit_principal_curve.h"

namespace kvsplice::experiment {

using train::GeometricMix;

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

double Errors::median(size_t k) const {
  std::vector<double> all;
  for (const auto& errors : by_seed) all.push_back(errors[k]);
  std::sort(all.begin(), all.end());
  const size_t n = all.size();
  return (all[(n - 1) / 2] + all[n / 2]) / 2;
}

Result<WarpErrors> compare_warps(const GeometricMix& mix, const StudyOptions& options,
                                 const Progress& progress) {
  const auto errors_of = [&](Warp warp, int seed) -> Result<std::vector<double>> {
    const size_t rank = std::min(size_t(options.rank), mix.train.cols());
    KVS_ASSIGN(auto trained, train_warp(warp, mix.train, rank, options, uint64_t(seed)));
    return test_errors(std::move(trained), mix.train, mix.test, options.k);
  };
  WarpErrors all;
  KVS_ASSIGN(all.pca, errors_of(Warp::none, 0));
  for (int seed = 0; seed < options.seeds; ++seed) {
    KVS_TRY(progress.step("training warps", size_t(seed), size_t(options.seeds)));
    KVS_ASSIGN(auto spline, errors_of(Warp::spline, seed));
    KVS_ASSIGN(auto flow, errors_of(Warp::flow, seed));
    all.spline.by_seed.push_back(std::move(spline));
    all.flow.by_seed.push_back(std::move(flow));
  }
  return all;
}

Result<std::vector<OwnRankRow>> compare_own_ranks(const GeometricMix& mix,
                                                  const StudyOptions& options,
                                                  const Progress& progress) {
  constexpr double kNoise = 0.03 * 0.03;
  constexpr size_t kRanks[] = {2, 4, 8, 12};
  std::vector<OwnRankRow> rows;
  for (size_t rank : kRanks) {
    KVS_TRY(progress.step("training through the rank tested", rows.size(), std::size(kRanks)));
    double errors[std::size(kWarps)];
    for (Warp warp : kWarps) {
      KVS_ASSIGN(auto trained, train_warp(warp, mix.train, rank, options, 0));
      KVS_ASSIGN(const auto error,
                 test_errors(std::move(trained), mix.train, mix.test, {int(rank)}));
      errors[int(warp)] = error[0];
    }
    const double floor = kNoise * (1 - double(rank) / double(mix.train.cols()));
    rows.push_back({rank, errors[0], errors[1], errors[2], floor});
  }
  return rows;
}

Result<std::vector<NumbersRow>> compare_numbers(const GeometricMix& mix, const Progress& progress) {
  KVS_ASSIGN(const auto curve, train::fit_principal_curve(mix.train, {}, progress));
  const std::vector<float> places = curve.nearest(mix.test);
  Matrix<float> back(mix.test.rows(), mix.test.cols());
  for (size_t r = 0; r < back.rows(); ++r) curve.point(places[r], back.row(r));
  std::vector<NumbersRow> rows = {{"curve", 1, train::mean_squared_error(back, mix.test)}};
  const std::vector<int> ks = {1, 2, 4, 8, 10, 12};
  KVS_ASSIGN(const auto plain, train_warp(Warp::none, mix.train, 1, {}, 0));
  KVS_ASSIGN(const auto errors, test_errors(plain, mix.train, mix.test, ks));
  for (size_t i = 0; i < ks.size(); ++i) rows.push_back({"pca", size_t(ks[i]), errors[i]});
  return rows;
}

namespace {

constexpr double kDeltas[] = {0.02, 0.05, 0.1, 0.2, 0.4};

// The codec is fitted to warped rows, so that one training of the warp does for all steps.
Result<RateRow> rate_of(const WarpMap& warp, MatrixView<const float> train,
                        MatrixView<const float> test, double delta) {
  Matrix<float> warped(train.rows, train.cols), z(test.rows, test.cols), back = z;
  warp.forward(train, warped);
  warp.forward(test, z);
  KVS_ASSIGN(const auto fitted, fit_rows(fmt::format("klt | step(delta={})", delta), warped));
  codec::EntropyMeter meter;
  KVS_ASSIGN(const auto coded, fitted.roundtrip(block_of(z), nullptr, &meter));
  warp.inverse(coded.values[0], back);
  const double values = double(test.rows * test.cols);
  const double rms = std::sqrt(train::mean_squared_error(back, test));
  return RateRow{"", "", delta, meter.bits(Kind::value) / values, rms / rms_about_mean(test)};
}

}  // namespace

Result<std::vector<RateRow>> compare_rates(const std::string& data, MatrixView<const float> train,
                                           MatrixView<const float> test,
                                           const StudyOptions& options, const Progress& progress) {
  const size_t rank = std::min(size_t(options.rank), train.cols);
  std::vector<std::pair<std::string, WarpMap>> warps;
  KVS_ASSIGN(auto plain, train_warp(Warp::none, train, rank, options, 0));
  KVS_ASSIGN(auto spline, train_warp(Warp::spline, train, rank, options, 0));
  warps.emplace_back("none", std::move(plain));
  warps.emplace_back("spline for rank", std::move(spline));
  for (double error : {0.03, 0.1}) {
    KVS_ASSIGN(auto for_rate, train_for_rate(train, error, options));
    warps.emplace_back(fmt::format("spline for rate at {}", error), std::move(for_rate));
  }
  std::vector<RateRow> rows;
  for (const auto& [name, warp] : warps) {
    for (double delta : kDeltas) {
      const size_t all = warps.size() * std::size(kDeltas);
      KVS_TRY(progress.step("measuring rates of " + data, rows.size(), all));
      KVS_ASSIGN(RateRow row, rate_of(warp, train, test, delta));
      row.data = data;
      row.warp = name;
      rows.push_back(std::move(row));
    }
  }
  return rows;
}

Result<std::vector<MemoryRow>> count_bytes() {
  constexpr size_t kTokens = 256, kDim = 64;
  // The seed's own figures: f32 values of 256 tokens, pruned to a share, then k of 64 columns.
  std::vector<MemoryRow> rows = {
      {"seed: baseline", 65536, 0},       {"seed: pruned", 25024, 0},
      {"seed: pruned, k = 32", 12512, 0}, {"seed: pruned, k = 16", 6256, 0},
      {"seed: pruned, k = 8", 3128, 0},   {"f16", 2.0 * kTokens * kDim, 0}};
  KVS_ASSIGN(const GeometricMix mix, train::geometric_mix({2048, kDim, 0.03, 13}));
  const KvBlock<float> block = block_of(mix.test.view().row_range(0, kTokens));
  for (int k : {32, 16, 8}) {
    // Bytes do not depend on the training.
    KVS_ASSIGN(const auto fitted,
               fit_rows(fmt::format("spline(epochs=1) | pca(rank={})", k), mix.train));
    KVS_ASSIGN(const Bytes bytes, fitted.encode(block, nullptr));
    KVS_ASSIGN(const auto payloads, fitted.payloads(bytes));
    rows.push_back({fmt::format("measured: k = {}", k), double(payloads.back().size()),
                    double(fitted.state_bytes())});
  }
  return rows;
}

}  // namespace kvsplice::experiment
