// Uniform quantiser with a dead zone and one step for all columns of a unit. Behind an orthonormal
// transform, columns below the step fall into the dead zone: reverse water-filling by itself.
//
// The dead zone is wider in columns where anything but 0 is rare and so takes many bits: a code of
// 1 has to earn them. With h the bits by which 1 costs more than 0, the error saved by a value of
// magnitude a, a^2 - (a - 1)^2 steps^2, must reach thrift * h, so that a >= (1 + thrift * h) / 2.
// (The slope of distortion over rate at high rate is 2 ln 2 / 12 = .116 steps^2 a bit.)
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "codec/checks.h"
#include "codec/make_stage.h"
#include "core/half.h"
#include "linalg/linalg.h"

namespace kvsplice::codec {

namespace {

struct Params {
  double delta = 0.6;
  double offset = 0.4;
  double thrift = 0.1;
  std::string of = "unit";

  template <class V>
  void visit(V&& v) {
    v("delta", delta, "step over the rms that `of` names", Range{1e-6, 1e3});
    v("offset", offset, "rounding offset: .5 rounds to nearest, less widens the dead zone",
      Range{0.1, 0.5});
    v("thrift", thrift, "squared steps of error that a bit must save for 0 to become 1",
      Range{0, 1});
    v("of", of,
      "whose rms the step is relative to: the unit's rows before any stage, or the rows that "
      "arrive",
      Choice{"unit", "rows"});
  }
};

// Codes are kept well inside 32 bits so that later arithmetic on them cannot overflow.
constexpr float kLargestCode = 1 << 30;

// A column in which 1 is rarer than this is as expensive as one in which it has this share.
constexpr double kRarest = 1.0 / 512;

class Step : public Stage {
 public:
  explicit Step(const Params& params) : params_(params) {}

  Result<> fit(const Rows& rows, const Context& context) override {
    KVS_TRY(check_some_columns(rows.values.cols()));
    if (rows.values.rows() == 0) return Error{ErrorKind::numeric, "no rows to learn a step from"};
    KVS_TRY(check_finite(rows.values));
    const bool of_unit = params_.of == "unit" && context.rms > 0;
    const double rms = of_unit ? context.rms : rms_about_mean(rows.values);
    // Constant columns have no scale; any step stores them.
    step_ = static_cast<float>(params_.delta * context.step_scale * rms);
    if (!(step_ >= std::numeric_limits<float>::min())) step_ = static_cast<float>(params_.delta);
    if (!std::isfinite(step_)) {
      return Error{ErrorKind::numeric, fmt::format("rms {} is too large for a step", rms)};
    }
    least_.resize(rows.values.cols());
    for (size_t c = 0; c < least_.size(); ++c) least_[c] = least_one(rows.values, c);
    return {};
  }

  Result<> encode(Rows& rows, const Context&, ByteWriter&) const override {
    KVS_TRY(check_fitted(rows, least_.size()));
    const Matrix<float>& x = rows.values;
    rows.codes = Matrix<int32_t>(x.rows(), x.cols());
    for (size_t r = 0; r < x.rows(); ++r) {
      if (quantise(x.row(r), rows.codes.row(r))) continue;
      for (size_t c = 0; c < x.cols(); ++c) {
        if (!(std::abs(x(r, c)) / step_ < kLargestCode)) return out_of_range(x, r, c);
      }
    }
    rows.values = {};
    rows.quantised = true;
    rows.code_bits = 0;
    return {};
  }

  Result<> decode(Rows& rows, size_t count, const Context&, ByteReader&) const override {
    KVS_TRY(check_codes(rows, count, least_.size()));
    rows.values = Matrix<float>(count, least_.size());
    for (size_t i = 0; i < rows.codes.size(); ++i) {
      rows.values.flat()[i] = static_cast<float>(rows.codes.flat()[i]) * step_;
    }
    rows.codes = {};
    rows.quantised = false;
    return {};
  }

  State save() const override {
    return {{"step", {{1}, {step_}}}, {"least", {{least_.size()}, least_, Storage::f16}}};
  }

  Result<> load(const State& state, size_t width) override {
    KVS_TRY(check_some_columns(width));
    KVS_ASSIGN(const StateArray* step, find_array(state, "step", {1}));
    if (!(step->values[0] >= std::numeric_limits<float>::min())) {
      return Error{ErrorKind::format, fmt::format("step {} is not positive", step->values[0])};
    }
    KVS_ASSIGN(const StateArray* least, find_array(state, "least", {width}));
    step_ = step->values[0];
    least_ = least->values;
    return {};
  }

 private:
  // The least magnitude, in steps, of a column that becomes 1 instead of 0, as it is stored.
  float least_one(const Matrix<float>& rows, size_t column) const {
    size_t zeros = 0, ones = 0;
    for (size_t r = 0; r < rows.rows(); ++r) {
      const double code = std::floor(std::abs(rows(r, column)) / step_ + params_.offset);
      zeros += code == 0;
      ones += code == 1;
    }
    // Either sign of 1 is its own symbol.
    const double rarest = std::max(0.5 * double(ones), kRarest * double(rows.rows()));
    const double bits = std::max(0.0, std::log2(std::max<double>(double(zeros), 1) / rarest));
    const double least = std::max((1 + params_.thrift * bits) / 2, 1 - params_.offset);
    // At most 1, so that what is decoded has the same code again.
    return from_half(to_half(static_cast<float>(std::min(least, 1.0))));
  }

  // Returns false if some code would be too large, or a value is not a number.
  bool quantise(std::span<const float> x, std::span<int32_t> codes) const {
    const auto offset = static_cast<float>(params_.offset);
    bool all_fit = true;
    for (size_t c = 0; c < x.size(); ++c) {
      const float magnitude = std::abs(x[c]) / step_;
      const bool fits = magnitude < kLargestCode;
      all_fit &= fits;
      const auto rounded = static_cast<int32_t>((fits ? magnitude : 0) + offset);
      const int32_t code = magnitude < least_[c] ? 0 : std::max(rounded, 1);
      codes[c] = x[c] < 0 ? -code : code;
    }
    return all_fit;
  }

  Error out_of_range(const Matrix<float>& values, size_t row, size_t column) const {
    return {
        ErrorKind::numeric,
        fmt::format("value {} at row {}, column {} with step {}; magnitudes below {} can be coded",
                    values(row, column), row, column, step_, kLargestCode * step_)};
  }

  Params params_;
  float step_ = 1;
  std::vector<float> least_;  // per column, in steps
};

}  // namespace

StageInfo step_stage() {
  StageInfo info;
  info.name = "step";
  info.group = "quantise";
  info.version = 2;
  info.summary = "Uniform quantiser with a dead zone; one step, relative to the rms of the unit.";
  info.params = describe<Params>();
  info.make = stage_maker<Step, Params>("step");
  return info;
}

}  // namespace kvsplice::codec
