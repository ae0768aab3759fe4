// Uniform quantiser with a dead zone and one step for all columns of a unit. Behind an orthonormal
// transform, columns below the step fall into the dead zone: reverse water-filling by itself.
#include <fmt/format.h>

#include <cmath>

#include "codec/checks.h"
#include "codec/make_stage.h"
#include "linalg/linalg.h"

namespace kvsplice::codec {

namespace {

struct Params {
  double delta = 0.6;
  double offset = 0.4;
  std::string of = "unit";

  template <class V>
  void visit(V&& v) {
    v("delta", delta, "step over the rms that `of` names", Range{1e-6, 1e3});
    v("offset", offset, "rounding offset: .5 rounds to nearest, less widens the dead zone",
      Range{0.1, 0.5});
    v("of", of,
      "whose rms the step is relative to: the unit's rows before any stage, or the rows that "
      "arrive",
      Choice{"unit", "rows"});
  }
};

// Codes are kept well inside 32 bits so that later arithmetic on them cannot overflow.
constexpr float kLargestCode = 1 << 30;

// Returns false if some code would be too large, or a value is not a number.
bool quantise(std::span<const float> x, float step, float offset, std::span<int32_t> codes) {
  bool all_fit = true;
  for (size_t i = 0; i < x.size(); ++i) {
    const float magnitude = std::abs(x[i]) / step;
    const bool fits = magnitude < kLargestCode;
    all_fit &= fits;
    const auto code = static_cast<int32_t>((fits ? magnitude : 0) + offset);
    codes[i] = x[i] < 0 ? -code : code;
  }
  return all_fit;
}

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
    step_ = static_cast<float>(params_.delta * rms);
    if (!(step_ >= std::numeric_limits<float>::min())) step_ = static_cast<float>(params_.delta);
    if (!std::isfinite(step_)) {
      return Error{ErrorKind::numeric, fmt::format("rms {} is too large for a step", rms)};
    }
    width_ = rows.values.cols();
    return {};
  }

  Result<> encode(Rows& rows, const Context&, ByteWriter&) const override {
    KVS_TRY(check_fitted(rows, width_));
    const std::span<const float> x = rows.values.flat();
    rows.codes = Matrix<int32_t>(rows.values.rows(), rows.values.cols());
    if (!quantise(x, step_, static_cast<float>(params_.offset), rows.codes.flat())) {
      for (size_t i = 0; i < x.size(); ++i) {
        if (!(std::abs(x[i]) / step_ < kLargestCode)) return out_of_range(rows.values, i);
      }
    }
    rows.values = {};
    rows.quantised = true;
    rows.code_bits = 0;
    return {};
  }

  Result<> decode(Rows& rows, size_t count, const Context&, ByteReader&) const override {
    KVS_TRY(check_codes(rows, count, width_));
    rows.values = Matrix<float>(count, width_);
    for (size_t i = 0; i < rows.codes.size(); ++i) {
      rows.values.flat()[i] = static_cast<float>(rows.codes.flat()[i]) * step_;
    }
    rows.codes = {};
    rows.quantised = false;
    return {};
  }

  State save() const override { return {{"step", {{1}, {step_}}}}; }

  Result<> load(const State& state, size_t width) override {
    KVS_TRY(check_some_columns(width));
    KVS_ASSIGN(const StateArray* step, find_array(state, "step", {1}));
    if (!(step->values[0] >= std::numeric_limits<float>::min())) {
      return Error{ErrorKind::format, fmt::format("step {} is not positive", step->values[0])};
    }
    step_ = step->values[0];
    width_ = width;
    return {};
  }

 private:
  Error out_of_range(const Matrix<float>& values, size_t i) const {
    return {
        ErrorKind::numeric,
        fmt::format("value {} at row {}, column {} with step {}; magnitudes below {} can be coded",
                    values.flat()[i], i / values.cols(), i % values.cols(), step_,
                    kLargestCode * step_)};
  }

  Params params_;
  float step_ = 1;
  size_t width_ = 0;
};

}  // namespace

StageInfo step_stage() {
  StageInfo info;
  info.name = "step";
  info.group = "quantise";
  info.summary = "Uniform quantiser with a dead zone; one step, relative to the rms of the unit.";
  info.params = describe<Params>();
  info.make = stage_maker<Step, Params>("step");
  return info;
}

}  // namespace kvsplice::codec
