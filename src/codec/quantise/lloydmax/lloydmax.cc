// Scalar quantiser whose levels minimise the mean squared error of each column (Lloyd 1957, Max
// 1960).
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "codec/checks.h"
#include "codec/make_stage.h"
#include "core/threads.h"

namespace kvsplice::codec {

namespace {

struct Params {
  int bits = 4;

  template <class V>
  void visit(V&& v) {
    v("bits", bits, "bits per code; every column has 2^bits levels", Range{1, 8});
  }
};

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

class LloydMax : public Stage {
 public:
  explicit LloydMax(const Params& params) : bits_(params.bits), count_(size_t{1} << params.bits) {}

  Result<> fit(const Rows& rows, const Context&) override {
    const MatrixView<const float> x = rows.values;
    KVS_TRY(check_some_columns(x.cols));
    if (x.rows == 0) return Error{ErrorKind::numeric, "no rows to learn levels from"};
    KVS_TRY(check_finite(x));
    levels_ = Matrix<float>(x.cols, count_);
    parallel_for(x.cols, [&](size_t c) {
      const auto levels = fit_levels(Sample(x, c), count_);
      std::copy(levels.begin(), levels.end(), levels_.row(c).begin());
    });
    set_thresholds();
    return {};
  }

  Result<> encode(Rows& rows, const Context&, ByteWriter&) const override {
    KVS_TRY(check_fitted(rows, levels_.rows()));
    KVS_TRY(check_finite(rows.values));
    rows.codes = Matrix<int32_t>(rows.values.rows(), rows.values.cols());
    for (size_t r = 0; r < rows.codes.rows(); ++r) {
      for (size_t c = 0; c < rows.codes.cols(); ++c) {
        rows.codes(r, c) = nearest(c, rows.values(r, c)) - lowest();
      }
    }
    rows.values = {};
    rows.quantised = true;
    rows.code_bits = bits_;
    return {};
  }

  Result<> decode(Rows& rows, size_t count, const Context&, ByteReader&) const override {
    KVS_TRY(check_codes(rows, count, levels_.rows()));
    rows.values = Matrix<float>(count, levels_.rows());
    for (size_t r = 0; r < count; ++r) {
      for (size_t c = 0; c < levels_.rows(); ++c) {
        const int64_t index = int64_t(rows.codes(r, c)) + lowest();
        if (index < 0 || index >= int64_t(count_)) {
          return Error{ErrorKind::format,
                       fmt::format("code {} at row {}, column {}; legal: {} ... {}",
                                   rows.codes(r, c), r, c, -lowest(), lowest() - 1)};
        }
        rows.values(r, c) = levels_(c, static_cast<size_t>(index));
      }
    }
    rows.codes = {};
    rows.quantised = false;
    return {};
  }

  State save() const override {
    const auto values = levels_.flat();
    return {{"levels", {{levels_.rows(), count_}, {values.begin(), values.end()}}}};
  }

  Result<> load(const State& state, size_t width) override {
    KVS_TRY(check_some_columns(width));
    KVS_ASSIGN(const StateArray* array, find_array(state, "levels", {width, count_}));
    Matrix<float> levels(width, count_);
    std::copy(array->values.begin(), array->values.end(), levels.data());
    for (size_t c = 0; c < width; ++c) {
      if (!std::is_sorted(levels.row(c).begin(), levels.row(c).end())) {
        return Error{ErrorKind::format, fmt::format("levels of column {} do not ascend", c)};
      }
    }
    levels_ = std::move(levels);
    set_thresholds();
    return {};
  }

 private:
  int32_t lowest() const { return static_cast<int32_t>(count_ / 2); }

  // Half way between neighbours, in double so that neighbouring floats stay apart. Of equal levels
  // the first is used: the others' thresholds are those of the next level that differs.
  void set_thresholds() {
    thresholds_ = Matrix<double>(levels_.rows(), count_ - 1);
    for (size_t c = 0; c < levels_.rows(); ++c) {
      double above = std::numeric_limits<double>::infinity();
      for (size_t k = count_ - 1; k-- > 0;) {
        const double low = levels_(c, k), high = levels_(c, k + 1);
        if (low < high) above = (low + high) / 2;
        thresholds_(c, k) = above;
      }
    }
  }

  // How many thresholds lie below x, by bisection: their number is 2^bits - 1.
  int32_t nearest(size_t column, double x) const {
    const double* t = thresholds_.row(column).data();
    size_t index = 0;
    for (size_t half = count_ / 2; half > 0; half /= 2) {
      index += t[index + half - 1] < x ? half : 0;
    }
    return static_cast<int32_t>(index);
  }

  int bits_;
  size_t count_;
  Matrix<float> levels_;       // [columns x 2^bits], ascending
  Matrix<double> thresholds_;  // [columns x 2^bits - 1]
};

}  // namespace

StageInfo lloydmax_stage() {
  StageInfo info;
  info.name = "lloydmax";
  info.group = "quantise";
  info.summary = "Scalar quantiser with the levels of least squared error for every column.";
  info.params = describe<Params>();
  info.make = stage_maker<LloydMax, Params>("lloydmax");
  return info;
}

}  // namespace kvsplice::codec
