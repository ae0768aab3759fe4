// The KVSplice seed's study on GeometricMix: do learned warps before PCA beat PCA? Each part is
// planned, then all are computed together (kept.h), then rows are made of the numbers. What a plan
// is given must stay until then.
#pragma once

#include <string>
#include <vector>

#include "experiments/kvsplice/kept.h"
#include "experiments/kvsplice/options.h"
#include "experiments/kvsplice/warps.h"
#include "train/geometric_mix.h"

namespace kvsplice::experiment {

// Test errors of one way to code, [seed][k].
struct Errors {
  std::vector<std::vector<double>> by_seed;

  double mean(size_t k) const;
  double deviation(size_t k) const;  // between seeds; 0 for one
  double median(size_t k) const;
};

struct WarpErrors {
  std::vector<double> pca;  // [k]
  Errors spline, flow;
};

void plan_warps(const train::GeometricMix& mix, const StudyOptions& options, Kept& kept);
WarpErrors warps_of(const StudyOptions& options, const Kept& kept);

// Test errors when a warp is trained through the rank at which it is tested, training seed 0. The
// seed trains through 16 and tests at all ranks.
struct OwnRankRow {
  size_t rank;
  double pca, spline, flow;
  double floor;  // the noise that no code of so many numbers can know
};
void plan_own_ranks(const train::GeometricMix& mix, const StudyOptions& options, Kept& kept);
std::vector<OwnRankRow> own_ranks_of(const train::GeometricMix& mix, const Kept& kept);

// How much one number per vector can say: the curve, and PCA of one to twelve components.
struct NumbersRow {
  std::string method;
  size_t numbers;
  double test_mse;
};
void plan_numbers(const train::GeometricMix& mix, Kept& kept);
std::vector<NumbersRow> numbers_of(const Kept& kept);

// Bits and errors of quantised coordinates: plain KLT, and behind splines trained for rank and for
// rate. Bits are the empirical entropy of the test rows' codes in a model fitted to them, column by
// column, with the cost of the model (EntropyMeter): an estimate. Errors are relative: rms error
// over the rms of the test rows about their mean.
struct RateRow {
  std::string data, warp;
  double delta;
  double bits_per_value;
  double error;
};
void plan_rates(const std::string& data, MatrixView<const float> train,
                MatrixView<const float> test, const StudyOptions& options, Kept& kept);
std::vector<RateRow> rates_of(const std::string& data, const Kept& kept);

// Bytes of the values of one head of 256 tokens x 64, as the seed's ablation counts them, and ours:
// the encoded block of a codec `spline | pca(rank=k)`, and the state that is shared by all blocks.
struct MemoryRow {
  std::string what;
  double bytes;
  double state_bytes;
};
Result<std::vector<MemoryRow>> count_bytes();

}  // namespace kvsplice::experiment
