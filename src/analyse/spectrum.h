// What a list of variances or singular values says about rank, coding gain and rate.
#pragma once

#include <cstddef>
#include <span>

namespace kvsplice::analyse {

struct RankProfile {
  double effective = 0;  // least r whose singular values sum to 99 % of the sum of all
  double full = 0;       // number of singular values
  double ratio = 0;      // effective / full
  double top1 = 0;       // shares of the sum of singular values
  double top10 = 0;
};
RankProfile rank_profile(std::span<const double> singular_values);  // descending

// Variances are not taken below this share of their mean: rounding of f16 and sampling noise would
// otherwise make a gain arbitrarily large.
inline constexpr double kVarianceFloor = 1e-6;

// 0.5 log2(arithmetic mean / geometric mean): bits per value that coding coordinates with these
// variances at one distortion saves against coordinates of equal variance. 0 if all are zero.
double coding_gain(std::span<const double> variances);

// Rate of independent Gaussians in bits per coordinate when the mean squared error per coordinate
// is `distortion` (> 0), spread by reverse water-filling.
double rate(std::span<const double> variances, double distortion);

// How many of the values, in order, make up `share` of their sum.
size_t components_for(std::span<const double> descending, double share);

}  // namespace kvsplice::analyse
