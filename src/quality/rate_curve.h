// What a handful of measured points says between them, and arithmetic of sizes.
#pragma once

#include <cstddef>
#include <optional>
#include <vector>

namespace kvsplice::quality {

struct RatePoint {
  double ratio, kld;
};

// The largest ratio at which the line through the points, straight in logarithms and in the order
// of ratios, is at or below a divergence. Nothing if no point is: the method does not reach it.
struct RatioAt {
  double ratio;
  bool last;  // of the largest ratio measured: the method may go further
};
std::optional<RatioAt> ratio_at(std::vector<RatePoint> points, double kld);

// Tokens after which codec file and rows together are smaller than `other_bytes_per_token` of
// cache; nothing if they never are.
std::optional<double> paid_back_at(double file_bytes, double bytes_per_token,
                                   double other_bytes_per_token);

// f16 bytes over bytes of a cache of `tokens`, of which `exact` (at most all) are kept in f16.
double ratio_of_length(double tokens, double exact, double bytes_per_token,
                       double f16_bytes_per_token);

}  // namespace kvsplice::quality
