#include "experiments/nerf_attention/study.h"

#include <algorithm>
#include <cmath>

namespace kvsplice::experiment::nerf {

double Spread::deviation() const {
  if (n_ < 2) return 0;
  return std::sqrt(std::max(0.0, squares_ - sum_ * mean()) / double(n_ - 1));
}

Spread cosines(const Study& study, const std::vector<FitJob>& jobs,
               const std::function<bool(const FitJob&)>& wanted) {
  Spread spread;
  for (const FitJob& job : jobs) {
    if (wanted(job)) spread.add(study.record(job).cosine_mean);
  }
  return spread;
}

Spread cosines(const std::vector<Baseline>& baselines,
               const std::function<bool(const Baseline&)>& wanted) {
  Spread spread;
  for (const Baseline& b : baselines) {
    if (wanted(b)) spread.add(b.quality.cosine_mean);
  }
  return spread;
}

std::optional<PowerLaw> power_law(const std::vector<double>& n, const std::vector<double>& y) {
  double sx = 0, sy = 0, sxx = 0, sxy = 0;
  const double count = double(n.size());
  for (size_t i = 0; i < n.size(); ++i) {
    if (!(n[i] > 0 && y[i] > 0)) return std::nullopt;
    const double u = std::log(n[i]), v = std::log(y[i]);
    sx += u, sy += v, sxx += u * u, sxy += u * v;
  }
  const double spread = count * sxx - sx * sx;
  if (!(spread > 0)) return std::nullopt;
  const double exponent = (count * sxy - sx * sy) / spread;
  return PowerLaw{std::exp((sy - exponent * sx) / count), exponent};
}

std::vector<MeanAgainstNetwork> means_against_networks(const Study& study,
                                                       const std::string& config) {
  std::vector<MeanAgainstNetwork> all;
  const auto& places = study.sources.places;
  for (int layer : places.sweep_layers) {
    for (int head : places.heads) {
      const auto of = [&](const std::string& method, Signal signal) {
        return cosines(study.closed,
                       [&](const Baseline& b) {
                         return b.method == method && b.signal == signal && b.layer == layer &&
                                b.head == head;
                       })
            .mean();
      };
      const auto network = [&](Signal signal) {
        return cosines(study, study.jobs.sweep,
                       [&](const FitJob& j) {
                         return j.config == config && j.signal == signal && j.layer == layer &&
                                j.head == head;
                       })
            .mean();
      };
      all.push_back({layer, head, of("rotmean", Signal::key), of("mean", Signal::key),
                     network(Signal::key), of("mean", Signal::value), network(Signal::value)});
    }
  }
  return all;
}

}  // namespace kvsplice::experiment::nerf
