// Fits of sine networks: what is to be fitted and what came of it. Finished fits are kept in a
// journal.
#pragma once

#include <concepts>
#include <string>
#include <vector>

#include "experiments/experiment.h"
#include "experiments/journal.h"
#include "experiments/nerf_attention/data.h"

namespace kvsplice::experiment::nerf {

struct FitJob {
  const Data* data = nullptr;
  size_t text = 0;
  Signal signal = Signal::key;
  int layer = 0, head = 0;
  size_t tokens = 0;
  std::string config;  // of the seven
  uint64_t seed = 0;
  double longer = 1;  // times the epochs of the options

  functions::SirenShape shape() const;
  functions::SirenOptions recipe(const Options& options) const;
  std::string name() const;                       // as the seed names it: L0_H1_key_medium
  std::string key(const Options& options) const;  // everything that its result depends on
  double flops_per_epoch() const;
};

struct FitRecord {
  double mse = 0, cosine_mean = 0, cosine_min = 0, cosine_std = 0;  // in original units
  double loss = 0;                                                  // standardised, at the end
  double loss_50 = 0, loss_75 = 0, loss_90 = 0;  // after these shares of the epochs
  size_t epochs = 0;
  double seconds = 0;
  size_t parameters = 0, dim = 0, tokens = 0;
  std::vector<float> position_error;  // relative rms error, means over runs of positions

  bool converged() const { return loss_90 - loss < 0.01 * loss_90; }
  double raw_bytes() const { return 2.0 * double(tokens) * double(dim); }
  double bytes_seed() const { return 4.0 * double(parameters); }  // without mean and deviation
  double bytes() const { return bytes_seed() + 8.0 * double(dim); }
  double ratio_seed() const { return raw_bytes() / bytes_seed(); }
  double ratio() const { return raw_bytes() / bytes(); }
};

inline constexpr size_t kErrorRuns = 128;  // of positions, at most

template <class Record, class F>  // FitRecord, const or not
void visit_fields(Record& r, F&& f) requires std::same_as<std::remove_const_t<Record>, FitRecord> {
  f("mse", r.mse);
  f("cosine_mean", r.cosine_mean);
  f("cosine_min", r.cosine_min);
  f("cosine_std", r.cosine_std);
  f("loss", r.loss);
  f("loss_50", r.loss_50);
  f("loss_75", r.loss_75);
  f("loss_90", r.loss_90);
  f("epochs", r.epochs);
  f("seconds", r.seconds);
  f("parameters", r.parameters);
  f("dim", r.dim);
  f("tokens", r.tokens);
  f("position_error", r.position_error);
}

using Fits = Journal<FitRecord>;

// Runs the jobs that the journal lacks, side by side, each as if it were alone; the processes of a
// team share them.
Result<> run_fits(const std::vector<FitJob>& jobs, const Options& options, const Setting& setting,
                  Fits& journal);

// For a job that run_fits has been given.
const FitRecord& record_of(const FitJob& job, const Options& options, const Fits& journal);

// Cosines, errors and error by position of rebuilt vectors; the rest of the record is left alone.
Result<> compare(MatrixView<const float> original, MatrixView<const float> rebuilt,
                 FitRecord& record);

const char* kind_name(Signal signal);  // key, key_before_rope, value

}  // namespace kvsplice::experiment::nerf
