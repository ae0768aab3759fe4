// Uniform quantiser with a dead zone and one step for all columns of a unit. Behind an orthonormal
// transform, columns below the step fall into the dead zone: reverse water-filling by itself.
#include <fmt/format.h>

#include "codec/checks.h"
#include "codec/dead_zone.h"
#include "codec/make_stage.h"
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

class Step : public Stage {
 public:
  explicit Step(const Params& params) : params_(params) {}

  Result<> fit(const Rows& rows, const Context& context) override {
    KVS_TRY(check_some_columns(rows.values.cols()));
    if (rows.values.rows() == 0) return Error{ErrorKind::numeric, "no rows to learn a step from"};
    KVS_TRY(check_finite(rows.values));
    const bool of_unit = params_.of == "unit" && context.rms > 0;
    const double rms = of_unit ? context.rms : rms_about_mean(rows.values);
    KVS_ASSIGN(const float step, step_of(params_.delta * context.step_scale, rms));
    zone_ = DeadZone(rows.values.cols(), step, params_.offset, params_.thrift);
    zone_.adapt(rows.values);
    return {};
  }

  Result<> encode(Rows& rows, const Context&, ByteWriter&) const override {
    KVS_TRY(check_fitted(rows, zone_.columns()));
    const Matrix<float>& x = rows.values;
    rows.codes = Matrix<int32_t>(x.rows(), x.cols());
    for (size_t r = 0; r < x.rows(); ++r) {
      if (!zone_.quantise(x.row(r), rows.codes.row(r))) return beyond_codes(x, zone_.step());
    }
    rows.values = {};
    rows.quantised = true;
    rows.code_bits = 0;
    return {};
  }

  Result<> decode(Rows& rows, size_t count, const Context&, ByteReader&) const override {
    KVS_TRY(check_codes(rows, count, zone_.columns()));
    rows.values = Matrix<float>(count, zone_.columns());
    for (size_t i = 0; i < rows.codes.size(); ++i) {
      rows.values.flat()[i] = static_cast<float>(rows.codes.flat()[i]) * zone_.step();
    }
    rows.codes = {};
    rows.quantised = false;
    return {};
  }

  State save() const override {
    State state;
    zone_.save(state);
    return state;
  }

  Result<> load(const State& state, size_t width) override {
    KVS_TRY(check_some_columns(width));
    DeadZone zone(0, 1, params_.offset, params_.thrift);
    KVS_TRY(zone.load(state, width));
    zone_ = std::move(zone);
    return {};
  }

 private:
  Params params_;
  DeadZone zone_;
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
