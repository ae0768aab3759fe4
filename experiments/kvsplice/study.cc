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

namespace {

std::string name_of(Warp warp, int seed) {
  return fmt::format("training warps: {}, seed {}", name(warp), seed);
}

}  // namespace

void plan_warps(const GeometricMix& mix, const StudyOptions& options, Kept& kept) {
  const auto plan = [&](Warp warp, int seed) {
    kept.want(name_of(warp, seed), [&, warp, seed]() -> Result<std::vector<double>> {
      const size_t rank = std::min(size_t(options.rank), mix.train.cols());
      KVS_ASSIGN(auto trained, train_warp(warp, mix.train, rank, options, uint64_t(seed)));
      return test_errors(std::move(trained), mix.train, mix.test, options.k);
    });
  };
  plan(Warp::none, 0);
  for (int seed = 0; seed < options.seeds; ++seed) {
    plan(Warp::spline, seed);
    plan(Warp::flow, seed);
  }
}

WarpErrors warps_of(const StudyOptions& options, const Kept& kept) {
  WarpErrors all;
  all.pca = kept.of(name_of(Warp::none, 0));
  for (int seed = 0; seed < options.seeds; ++seed) {
    all.spline.by_seed.push_back(kept.of(name_of(Warp::spline, seed)));
    all.flow.by_seed.push_back(kept.of(name_of(Warp::flow, seed)));
  }
  return all;
}

namespace {

constexpr size_t kOwnRanks[] = {2, 4, 8, 12};

std::string name_of(Warp warp, size_t rank) {
  return fmt::format("training through the rank tested: {}, {}", name(warp), rank);
}

}  // namespace

void plan_own_ranks(const GeometricMix& mix, const StudyOptions& options, Kept& kept) {
  for (const size_t rank : kOwnRanks) {
    for (const Warp warp : kWarps) {
      kept.want(name_of(warp, rank), [&, rank, warp]() -> Result<std::vector<double>> {
        KVS_ASSIGN(auto trained, train_warp(warp, mix.train, rank, options, 0));
        return test_errors(std::move(trained), mix.train, mix.test, {int(rank)});
      });
    }
  }
}

std::vector<OwnRankRow> own_ranks_of(const GeometricMix& mix, const Kept& kept) {
  constexpr double kNoise = 0.03 * 0.03;
  std::vector<OwnRankRow> rows;
  for (const size_t rank : kOwnRanks) {
    const auto error = [&](Warp warp) { return kept.of(name_of(warp, rank))[0]; };
    const double floor = kNoise * (1 - double(rank) / double(mix.train.cols()));
    rows.push_back({rank, error(Warp::none), error(Warp::spline), error(Warp::flow), floor});
  }
  return rows;
}

namespace {

constexpr const char* kCurve = "one number: curve";
constexpr const char* kFewNumbers = "one number: PCA";
const std::vector<int> kFewRanks = {1, 2, 4, 8, 10, 12};

}  // namespace

void plan_numbers(const GeometricMix& mix, Kept& kept) {
  kept.want(kCurve, [&]() -> Result<std::vector<double>> {
    KVS_ASSIGN(const auto curve, train::fit_principal_curve(mix.train, {}, {}));
    const std::vector<float> places = curve.nearest(mix.test);
    Matrix<float> back(mix.test.rows(), mix.test.cols());
    for (size_t r = 0; r < back.rows(); ++r) curve.point(places[r], back.row(r));
    return std::vector<double>{train::mean_squared_error(back, mix.test)};
  });
  kept.want(kFewNumbers, [&]() -> Result<std::vector<double>> {
    KVS_ASSIGN(auto plain, train_warp(Warp::none, mix.train, 1, {}, 0));
    return test_errors(std::move(plain), mix.train, mix.test, kFewRanks);
  });
}

std::vector<NumbersRow> numbers_of(const Kept& kept) {
  std::vector<NumbersRow> rows = {{"curve", 1, kept.of(kCurve)[0]}};
  const auto& errors = kept.of(kFewNumbers);
  for (size_t i = 0; i < kFewRanks.size(); ++i) {
    rows.push_back({"pca", size_t(kFewRanks[i]), errors[i]});
  }
  return rows;
}

namespace {

constexpr double kDeltas[] = {0.02, 0.05, 0.1, 0.2, 0.4};

struct Rate {
  double bits_per_value, error;
};

// The codec is fitted to warped rows, so that one training of the warp does for all steps.
Result<Rate> rate_of(const WarpMap& warp, MatrixView<const float> train,
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
  return Rate{meter.bits(Kind::value) / values, rms / rms_about_mean(test)};
}

// What the warps are trained for.
struct RateWarp {
  std::string name;
  Warp warp = Warp::none;
  double rate_error = 0;  // above 0: for rate at this error, instead
};
std::vector<RateWarp> rate_warps() {
  std::vector<RateWarp> warps = {{"none"}, {"spline for rank", Warp::spline}};
  for (double error : {0.03, 0.1}) {
    warps.push_back({fmt::format("spline for rate at {}", error), Warp::spline, error});
  }
  return warps;
}

std::string name_of(const std::string& data, const RateWarp& warp) {
  return fmt::format("measuring rates of {}: {}", data, warp.name);
}

// Bits and error of every step.
Result<std::vector<double>> rates_of(const RateWarp& of, MatrixView<const float> train,
                                     MatrixView<const float> test, const StudyOptions& options) {
  const size_t rank = std::min(size_t(options.rank), train.cols);
  KVS_ASSIGN(const WarpMap warp, of.rate_error > 0 ? train_for_rate(train, of.rate_error, options)
                                                   : train_warp(of.warp, train, rank, options, 0));
  std::vector<double> all;
  for (const double delta : kDeltas) {
    KVS_ASSIGN(const Rate rate, rate_of(warp, train, test, delta));
    all.insert(all.end(), {rate.bits_per_value, rate.error});
  }
  return all;
}

}  // namespace

void plan_rates(const std::string& data, MatrixView<const float> train,
                MatrixView<const float> test, const StudyOptions& options, Kept& kept) {
  for (const RateWarp& warp : rate_warps()) {
    kept.want(name_of(data, warp),
              [&options, train, test, warp] { return rates_of(warp, train, test, options); });
  }
}

std::vector<RateRow> rates_of(const std::string& data, const Kept& kept) {
  std::vector<RateRow> rows;
  for (const RateWarp& warp : rate_warps()) {
    const auto& numbers = kept.of(name_of(data, warp));
    for (size_t i = 0; i < std::size(kDeltas); ++i) {
      rows.push_back({data, warp.name, kDeltas[i], numbers[2 * i], numbers[2 * i + 1]});
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
