// Levels of least squared error, by Lloyd's method on the values of each column.
#include <algorithm>
#include <cmath>
#include <limits>

#include "codec/checks.h"
#include "codec/quantise/lloydmax/lloydmax.h"
#include "core/threads.h"
#include "fit/stage_fit.h"

namespace kvsplice::codec {

namespace {

// A column's values in ascending order. Prefix sums give the mean of any run of them at once.
class Sample {
 public:
  // Long columns are thinned to evenly spaced rows.
  Sample(MatrixView<const float> x, size_t column) {
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

  size_t size() const { return sorted_.size(); }
  double operator[](size_t i) const { return sorted_[i]; }
  double sum(size_t first, size_t end) const { return sums_[end] - sums_[first]; }
  double energy() const { return energy_; }
  size_t count_up_to(double threshold) const {
    return std::upper_bound(sorted_.begin(), sorted_.end(), threshold) - sorted_.begin();
  }

 private:
  std::vector<float> sorted_;
  std::vector<double> sums_;
  double energy_ = 0;
};

// First guess: levels as dense as the cube root of the density, which is optimal for many levels.
// A gap of g over a fixed number of values means a density ~ 1/g, so it deserves g^(2/3) levels.
std::vector<double> spread_levels(const Sample& sample, size_t count) {
  const size_t stride = std::max<size_t>(1, sample.size() / (4 * count));
  std::vector<double> at = {sample[0]}, share = {0};
  for (size_t i = 0; i + 1 < sample.size(); i += stride) {
    const size_t next = std::min(i + stride, sample.size() - 1);
    at.push_back(sample[next]);
    share.push_back(share.back() + std::cbrt(std::pow(sample[next] - sample[i], 2)));
  }
  std::vector<double> levels(count, sample[0]);
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
double lloyd_step(const Sample& sample, std::vector<double>& levels) {
  double explained = 0;
  size_t first = 0;
  for (size_t k = 0; k < levels.size(); ++k) {
    const bool last = k + 1 == levels.size();
    const size_t end = last ? sample.size() : sample.count_up_to((levels[k] + levels[k + 1]) / 2);
    if (end <= first) continue;  // nothing is nearest: the level stays
    const double sum = sample.sum(first, end), n = static_cast<double>(end - first);
    levels[k] = sum / n;
    explained += sum * sum / n;
    first = end;
  }
  return sample.energy() - explained;
}

std::vector<double> fit_levels(const Sample& sample, size_t count) {
  constexpr int kMostSteps = 400;
  constexpr double kGain = 1e-5;  // a step that gains less of the distortion is the last
  std::vector<double> levels = spread_levels(sample, count);
  double before = std::numeric_limits<double>::infinity();
  for (int i = 0; i < kMostSteps; ++i) {
    const double distortion = lloyd_step(sample, levels);
    if (!(distortion < before * (1 - kGain))) break;
    before = distortion;
  }
  return levels;
}

Result<State> fit_lloydmax(const LloydMaxParams& params, const Rows& rows, const FitContext&) {
  const MatrixView<const float> x = rows.values;
  KVS_TRY(check_some_columns(x.cols));
  if (x.rows == 0) return Error{ErrorKind::numeric, "no rows to learn levels from"};
  KVS_TRY(check_finite(x));
  const size_t count = params.levels();
  StateArray all{{x.cols, count}, std::vector<float>(x.cols * count)};
  parallel_for(x.cols, [&](size_t c) {
    const auto levels = fit_levels(Sample(x, c), count);
    std::copy(levels.begin(), levels.end(), all.values.begin() + c * count);
  });
  return State{{"levels", std::move(all)}};
}

}  // namespace

StageFit lloydmax_fit() { return stage_fit<LloydMaxParams>("lloydmax", fit_lloydmax); }

}  // namespace kvsplice::codec
