#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "experiments/kvsplice/outputs.h"

namespace kvsplice::experiment {

namespace {

std::string warp_finding(const std::string& name, const StudyOptions& options,
                         const WarpErrors& warps, const Errors& errors) {
  double best = 0, worst = 0;
  for (size_t i = 0; i < options.k.size(); ++i) {
    best = std::max(best, 1 - errors.mean(i) / warps.pca[i]);
    worst = std::max(worst, errors.mean(i) / warps.pca[i] - 1);
  }
  return fmt::format(
      "GeometricMix: behind the {}, PCA's test error falls by at most {:.2f} % and rises by at "
      "most {:.2f} % (mean of {} trainings, {} ranks).",
      name, 100 * best, 100 * worst, errors.by_seed.size(), options.k.size());
}

using Curve = std::vector<RateRow>;  // one warp on one data set, by step

// Bits at an error, between points on a line of bits over log error; NaN outside them.
double bits_at(const Curve& curve, double error) {
  for (size_t i = 0; i + 1 < curve.size(); ++i) {
    const double low = std::log(curve[i].error), high = std::log(curve[i + 1].error);
    const double share = (std::log(error) - low) / (high - low);
    if (share < 0 || share > 1) continue;
    return std::lerp(curve[i].bits_per_value, curve[i + 1].bits_per_value, share);
  }
  return NAN;
}

std::vector<Curve> curves_of(const std::vector<RateRow>& rows) {
  std::vector<Curve> curves;
  for (const RateRow& r : rows) {
    const bool same =
        !curves.empty() && curves.back()[0].data == r.data && curves.back()[0].warp == r.warp;
    if (!same) curves.emplace_back();
    curves.back().push_back(r);
  }
  return curves;
}

// Of every warp at the errors of the plain KLT of the same data: the range of what bits change.
std::vector<std::string> rate_findings(const std::vector<RateRow>& rows) {
  std::vector<std::string> out;
  const auto curves = curves_of(rows);
  const Curve* plain = nullptr;
  for (const Curve& curve : curves) {
    if (curve[0].warp == "none") plain = &curve;
    if (curve[0].warp == "none" || plain == nullptr) continue;
    double least = HUGE_VAL, most = -HUGE_VAL;
    for (const RateRow& r : *plain) {
      const double change = bits_at(curve, r.error) / r.bits_per_value - 1;
      if (std::isnan(change)) continue;
      least = std::min(least, change);
      most = std::max(most, change);
    }
    if (least > most) continue;
    out.push_back(fmt::format(
        "{}: at the error of a plain KLT, a {} changes the entropy by {:+.1f} to {:+.1f} %.",
        curve[0].data, curve[0].warp, 100 * least, 100 * most));
  }
  return out;
}

// How often a warp beats plain PCA, and by how much the mean error changes at best and at worst.
std::string cache_finding(const std::vector<CacheRow>& rows, Warp warp) {
  double least = HUGE_VAL, most = -HUGE_VAL;
  size_t better = 0, units = 0;
  double plain = 0;
  for (const CacheRow& r : rows) {
    if (r.method == name(Warp::none)) plain = r.error;
    if (r.method != name(warp)) continue;
    least = std::min(least, r.error / plain - 1);
    most = std::max(most, r.error / plain - 1);
    better += r.better;
    units += r.units;
  }
  return fmt::format(
      "Real caches: a {} before PCA changes the error by {:+.2f} to {:+.2f} % at equal bytes "
      "(means "
      "of a signal, scope and rank); it is below plain PCA's in {} of {} cases.",
      name(warp), 100 * least, 100 * most, better, units);
}

// A codec with a warp beside the one before it without.
std::vector<std::string> loop_findings(const std::vector<quality::Outcome>& loop) {
  std::vector<std::string> out;
  const quality::Outcome* plain = nullptr;
  for (const auto& o : loop) {
    if (o.pipeline.empty()) continue;
    const bool warped =
        o.cache.find("spline") != std::string::npos || o.cache.find("flow") != std::string::npos;
    if (!warped) plain = &o;
    if (!warped || plain == nullptr) continue;
    out.push_back(
        fmt::format("In the loop, {} has a mean KLD of {:.4f}, {} of {:.4f}, at {:.2f} and {:.2f} "
                    "bits a value.",
                    o.cache, o.kld_mean, plain->cache, plain->kld_mean, o.bits_per_value,
                    plain->bits_per_value));
  }
  return out;
}

std::vector<std::string> own_rank_findings(const std::vector<OwnRankRow>& rows) {
  std::vector<std::string> out;
  for (const OwnRankRow& r : rows) {
    out.push_back(
        fmt::format("GeometricMix, k = {}: trained through {} components instead of 16, the spline "
                    "changes PCA's "
                    "error by {:+.1f} %, the flow by {:+.1f} %; the noise is at {:+.1f} %.",
                    r.rank, r.rank, 100 * (r.spline / r.pca - 1), 100 * (r.flow / r.pca - 1),
                    100 * (r.floor / r.pca - 1)));
  }
  return out;
}

}  // namespace

std::vector<std::string> findings(const StudyOptions& options, const Study& study) {
  std::vector<std::string> out = {
      warp_finding("spline", options, study.warps, study.warps.spline),
      warp_finding("flow", options, study.warps, study.warps.flow),
      fmt::format(
          "GeometricMix: one number per vector, the place along a curve, leaves an error of "
          "{:.6f}; {} numbers of PCA leave {:.6f}.",
          study.numbers.front().test_mse, study.numbers.back().numbers,
          study.numbers.back().test_mse)};
  for (auto& line : own_rank_findings(study.own_ranks)) out.push_back(std::move(line));
  for (auto& line : rate_findings(study.rates)) out.push_back(std::move(line));
  if (!study.caches.empty()) {
    out.push_back(cache_finding(study.caches, Warp::spline));
    out.push_back(cache_finding(study.caches, Warp::flow));
  }
  for (auto& line : loop_findings(study.loop)) out.push_back(std::move(line));
  return out;
}

}  // namespace kvsplice::experiment
