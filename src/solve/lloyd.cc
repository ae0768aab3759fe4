#include "solve/lloyd.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace kvsplice {

SortedColumn::SortedColumn(MatrixView<const float> x, size_t column) {
  constexpr size_t kMost = 32768;
  sorted_.resize(std::min(x.rows, kMost));
  for (size_t i = 0; i < sorted_.size(); ++i) {
    sorted_[i] = x(i * x.rows / sorted_.size(), column);
  }
  std::sort(sorted_.begin(), sorted_.end());
  sums_.resize(sorted_.size() + 1);
  for (size_t i = 0; i < sorted_.size(); ++i) sums_[i + 1] = sums_[i] + sorted_[i];
  for (float v : sorted_) energy_ += double(v) * v;
}

size_t SortedColumn::count_up_to(double threshold) const {
  return std::upper_bound(sorted_.begin(), sorted_.end(), threshold) - sorted_.begin();
}

// First guess: levels as dense as the cube root of the density, which is optimal for many levels.
// A gap of g over a fixed number of values means a density ~ 1/g, so it deserves g^(2/3) levels.
std::vector<double> SortedColumn::spread_levels(size_t count) const {
  const size_t stride = std::max<size_t>(1, sorted_.size() / (4 * count));
  std::vector<double> at = {sorted_[0]}, share = {0};
  for (size_t i = 0; i + 1 < sorted_.size(); i += stride) {
    const size_t next = std::min(i + stride, sorted_.size() - 1);
    at.push_back(sorted_[next]);
    share.push_back(share.back() + std::cbrt(std::pow(double(sorted_[next]) - sorted_[i], 2)));
  }
  std::vector<double> levels(count, sorted_[0]);
  if (share.back() == 0) return levels;
  size_t j = 1;
  for (size_t k = 0; k < count; ++k) {
    const double wanted = share.back() * (double(k) + 0.5) / double(count);
    while (share[j] < wanted) ++j;
    const double part = (wanted - share[j - 1]) / (share[j] - share[j - 1]);
    levels[k] = at[j - 1] + part * (at[j] - at[j - 1]);
  }
  return levels;
}

// Moves every level to the mean of the values nearest to it. Returns the distortion behind it.
double SortedColumn::step(std::vector<double>& levels) const {
  double explained = 0;
  size_t first = 0;
  for (size_t k = 0; k < levels.size(); ++k) {
    const bool last = k + 1 == levels.size();
    const size_t end = last ? sorted_.size() : count_up_to((levels[k] + levels[k + 1]) / 2);
    if (end <= first) continue;  // nothing is nearest: the level stays
    const double total = sum(first, end), n = static_cast<double>(end - first);
    levels[k] = total / n;
    explained += total * total / n;
    first = end;
  }
  return energy_ - explained;
}

std::vector<double> SortedColumn::levels(size_t count) const {
  constexpr int kMostSteps = 400;
  constexpr double kGain = 1e-5;  // a step that gains less of the distortion is the last
  std::vector<double> levels = spread_levels(count);
  double before = std::numeric_limits<double>::infinity();
  for (int i = 0; i < kMostSteps; ++i) {
    const double distortion = step(levels);
    if (!(distortion < before * (1 - kGain))) break;
    before = distortion;
  }
  return levels;
}

double SortedColumn::error(const std::vector<double>& levels) const {
  double total = energy_;
  size_t first = 0;
  for (size_t k = 0; k < levels.size(); ++k) {
    const bool last = k + 1 == levels.size();
    const size_t end = last ? sorted_.size() : count_up_to((levels[k] + levels[k + 1]) / 2);
    if (end <= first) continue;
    const auto n = static_cast<double>(end - first);
    total += levels[k] * (n * levels[k] - 2 * sum(first, end));
    first = end;
  }
  return std::max(total, 0.0) / static_cast<double>(sorted_.size());
}

}  // namespace kvsplice
