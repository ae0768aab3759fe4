// Scalar quantiser whose levels minimise the mean squared error of each column (Lloyd 1957, Max
// 1960).
#include "codec/quantise/lloydmax/lloydmax.h"

#include <fmt/format.h>

#include <algorithm>
#include <limits>

#include "codec/checks.h"
#include "codec/make_stage.h"

namespace kvsplice::codec {

namespace {

class LloydMax : public Stage {
 public:
  explicit LloydMax(const LloydMaxParams& params) : bits_(params.bits), count_(params.levels()) {}

  Result<> encode(Rows& rows, const CodeContext&, ByteWriter&) const override {
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

  Result<> decode(Rows& rows, size_t count, const CodeContext&, ByteReader&) const override {
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
  info.params = describe<LloydMaxParams>();
  info.make = stage_maker<LloydMax, LloydMaxParams>("lloydmax");
  return info;
}

}  // namespace kvsplice::codec
