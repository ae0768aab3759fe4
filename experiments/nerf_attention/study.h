// The finished study, and what is written of it.
#pragma once

#include <functional>
#include <optional>

#include "experiments/nerf_attention/baselines.h"
#include "experiments/nerf_attention/in_loop.h"
#include "experiments/nerf_attention/jobs.h"
#include "experiments/nerf_attention/latency.h"
#include "report/results.h"

namespace kvsplice::experiment::nerf {

struct Study {
  Options options;
  Sources sources;
  Jobs jobs;
  Fits journal;
  std::vector<Baseline> svd, closed;
  Latency latency;
  std::vector<Judged> loop;

  const FitRecord& record(const FitJob& job) const { return record_of(job, options, journal); }
  std::string text_name(const FitJob& job) const { return job.data->info().texts[job.text].name; }
};

// Mean and deviation over whatever is added.
class Spread {
 public:
  void add(double x) {
    ++n_;
    sum_ += x;
    squares_ += x * x;
  }
  size_t count() const { return n_; }
  double mean() const { return n_ > 0 ? sum_ / double(n_) : 0; }
  double deviation() const;

 private:
  size_t n_ = 0;
  double sum_ = 0, squares_ = 0;
};

// Cosines of the fits of a part that `wanted` picks.
Spread cosines(const Study& study, const std::vector<FitJob>& jobs,
               const std::function<bool(const FitJob&)>& wanted);
Spread cosines(const std::vector<Baseline>& baselines,
               const std::function<bool(const Baseline&)>& wanted);

// y = a n^b by least squares of logarithms; none if something is not positive.
struct PowerLaw {
  double factor, exponent;
};
std::optional<PowerLaw> power_law(const std::vector<double>& n, const std::vector<double>& y);

// The network that the seed's headline figures are of, and the mean it is compared with.
struct MeanAgainstNetwork {
  int layer, head;
  double rotated_mean, stored_mean, network;  // mean cosines with the stored keys
  double value_mean, value_network;
};
std::vector<MeanAgainstNetwork> means_against_networks(const Study& study,
                                                       const std::string& config);

std::vector<report::Table> tables(const Study& study);
std::vector<report::Figure> figures(const Study& study);
std::vector<std::string> findings(const Study& study);

}  // namespace kvsplice::experiment::nerf
