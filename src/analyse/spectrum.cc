#include "analyse/spectrum.h"

#include <algorithm>
#include <cassert>
#include <cmath>
#include <functional>
#include <numeric>
#include <vector>

namespace kvsplice::analyse {

namespace {

double sum(std::span<const double> x) { return std::accumulate(x.begin(), x.end(), 0.0); }

// The water level w with mean(min(variance, w)) == distortion; `descending` sums to more than that.
double water_level(std::span<const double> descending, double distortion) {
  const double budget = distortion * double(descending.size());
  double below = sum(descending);  // of the coordinates under water
  for (size_t above = 1; above <= descending.size(); ++above) {
    below -= descending[above - 1];
    const double level = (budget - below) / double(above);
    if (above == descending.size() || level >= descending[above]) return level;
  }
  return 0;
}

}  // namespace

RankProfile rank_profile(std::span<const double> singular_values) {
  RankProfile p;
  p.full = double(singular_values.size());
  const double total = sum(singular_values);
  if (total <= 0) return p;
  p.effective = double(components_for(singular_values, 0.99));
  p.ratio = p.effective / p.full;
  p.top1 = singular_values[0] / total;
  p.top10 = sum(singular_values.first(std::min<size_t>(10, singular_values.size()))) / total;
  return p;
}

double coding_gain(std::span<const double> variances) {
  const double mean = variances.empty() ? 0 : sum(variances) / double(variances.size());
  if (mean <= 0) return 0;
  double logs = 0;
  for (double v : variances) logs += std::log2(std::max(v / mean, kVarianceFloor));
  return -0.5 * logs / double(variances.size());
}

double rate(std::span<const double> variances, double distortion) {
  assert(distortion > 0);
  std::vector<double> descending(variances.begin(), variances.end());
  std::sort(descending.begin(), descending.end(), std::greater<>());
  if (sum(descending) <= distortion * double(descending.size())) return 0;
  const double level = water_level(descending, distortion);
  double bits = 0;
  for (double v : descending) {
    if (v > level) bits += 0.5 * std::log2(v / level);
  }
  return bits / double(descending.size());
}

size_t components_for(std::span<const double> descending, double share) {
  const double wanted = share * sum(descending);
  double reached = 0;
  for (size_t r = 0; r < descending.size(); ++r) {
    reached += descending[r];
    if (reached >= wanted) return r + 1;
  }
  return descending.size();
}

}  // namespace kvsplice::analyse
