// The KVSplice seed's study on GeometricMix: do learned warps before PCA beat PCA?
#pragma once

#include <string>
#include <vector>

#include "core/params.h"
#include "core/progress.h"
#include "train/geometric_mix.h"

namespace kvsplice::experiment {

struct StudyOptions {
  std::vector<int> k = {8, 12, 16, 24, 32, 48, 64};
  int spline_epochs = 20;
  int flow_epochs = 12;
  int rank = 16;
  int seeds = 5;
  int data_seed = 13;
  std::string regulariser = "reference";

  template <class V>
  void visit(V&& v) {
    v("k", k, "ranks of the PCA at the test", Range{1, 128});
    v("spline_epochs", spline_epochs, "passes over the rows for the spline", Range{0, 1000});
    v("flow_epochs", flow_epochs, "passes over the rows for the flow", Range{0, 1000});
    v("rank", rank, "components the warps are trained through", Range{1, 128});
    v("seeds", seeds, "trainings of each warp, with seeds 0, 1, ...", Range{1, 1000});
    v("data_seed", data_seed, "of GeometricMix; the seed's is 13", Range{0, 1e9});
    v("regulariser", regulariser, "of the flow: as the seed has it, without gradient, or working",
      Choice{"reference", "working"});
  }
};

// Test errors of one way to code, [seed][k].
struct Errors {
  std::vector<std::vector<double>> by_seed;

  double mean(size_t k) const;
  double deviation(size_t k) const;  // between seeds; 0 for one
};

struct Warps {
  std::vector<double> pca;  // [k]
  Errors spline, flow;
};

Result<Warps> compare_warps(const train::GeometricMix& mix, const StudyOptions& options,
                            const Progress& progress);

// How much one number per vector can say: the curve, and PCA of one to twelve components.
struct NumbersRow {
  std::string method;
  size_t numbers;
  double test_mse;
};
Result<std::vector<NumbersRow>> compare_numbers(const train::GeometricMix& mix,
                                                const Progress& progress);

// Bits and errors of quantised coordinates: plain KLT, and behind splines trained for rank and for
// rate. Bits are the empirical entropy of the test rows' codes in a model fitted to them, column by
// column, with the cost of the model (EntropyMeter): an estimate.
struct RateRow {
  std::string codec;  // pipeline text
  double bits_per_value;
  double test_mse;
};
Result<std::vector<RateRow>> compare_rates(const train::GeometricMix& mix,
                                           const StudyOptions& options, const Progress& progress);

// Bytes of the values of one head of 256 tokens x 64, as the seed's ablation counts them, and ours:
// the encoded block of a codec `spline | pca(rank=k)`, and the state that is shared by all blocks.
struct MemoryRow {
  std::string what;
  double bytes;
  double state_bytes;
};
Result<std::vector<MemoryRow>> count_bytes(const StudyOptions& options);

}  // namespace kvsplice::experiment
