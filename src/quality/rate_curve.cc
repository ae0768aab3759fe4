#include "quality/rate_curve.h"

#include <algorithm>
#include <cmath>

namespace kvsplice::quality {

namespace {

double log_of(double kld) { return std::log(std::max(kld, 1e-12)); }

}  // namespace

std::optional<RatioAt> ratio_at(std::vector<RatePoint> points, double kld) {
  std::sort(points.begin(), points.end(),
            [](const RatePoint& a, const RatePoint& b) { return a.ratio < b.ratio; });
  for (size_t i = points.size(); i-- > 0;) {
    if (points[i].kld > kld) continue;
    if (i + 1 == points.size()) return RatioAt{points[i].ratio, true};
    const double low = log_of(points[i].kld), high = log_of(points[i + 1].kld);
    const double t = (log_of(kld) - low) / (high - low);
    return RatioAt{std::exp(std::lerp(std::log(points[i].ratio), std::log(points[i + 1].ratio), t)),
                   false};
  }
  return std::nullopt;
}

std::optional<double> paid_back_at(double file_bytes, double bytes_per_token,
                                   double other_bytes_per_token) {
  const double saved = other_bytes_per_token - bytes_per_token;
  if (!(saved > 0)) return std::nullopt;
  return std::ceil(file_bytes / saved);
}

double ratio_of_length(double tokens, double exact, double bytes_per_token,
                       double f16_bytes_per_token) {
  exact = std::min(exact, tokens);
  return f16_bytes_per_token * tokens /
         (f16_bytes_per_token * exact + bytes_per_token * (tokens - exact));
}

}  // namespace kvsplice::quality
