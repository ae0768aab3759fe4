// One number for a row: its place along a curve through the calibration rows.
#include "codec/transform/curve/curve.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <optional>

#include "codec/checks.h"
#include "codec/make_stage.h"
#include "functions/principal_curve.h"

namespace kvsplice::codec {

namespace {

class Curve : public Stage {
 public:
  explicit Curve(const CurveParams&) {}

  Result<> encode(Rows& rows, const CodeContext&, ByteWriter&) const override {
    KVS_TRY(check_fitted(rows, width()));
    Matrix<float> places(rows.values.rows(), output_width(width()));
    if (curve_) {
      const std::vector<float> nearest = curve_->nearest(rows.values);
      std::copy(nearest.begin(), nearest.end(), places.data());
    }
    rows.values = std::move(places);
    return {};
  }

  Result<> decode(Rows& rows, size_t count, const CodeContext&, ByteReader&) const override {
    KVS_TRY(check_values(rows, count, output_width(width())));
    Matrix<float> out(count, width());
    for (size_t r = 0; r < count && curve_; ++r) curve_->point(rows.values(r, 0), out.row(r));
    rows.values = std::move(out);
    return {};
  }

  State save() const override {
    if (!curve_) return {};
    const Matrix<float>& points = curve_->points();
    State state;
    state["points"] = {{points.rows(), points.cols()},
                       {points.flat().begin(), points.flat().end()}};
    return state;
  }

  Result<> load(const State& state, size_t width) override {
    KVS_ASSIGN(const StateArray* array, find_array(state, "points", {kAny, width}));
    if (array->dims[0] < 2) {
      return Error{ErrorKind::format,
                   fmt::format("a curve of {} points; at least 2", array->dims[0])};
    }
    Matrix<float> points(array->dims[0], width);
    std::copy(array->values.begin(), array->values.end(), points.data());
    functions::PrincipalCurve curve(std::move(points));
    if (!std::isfinite(curve.length())) {
      return Error{ErrorKind::format, "the curve's length is not finite"};
    }
    curve_ = std::move(curve);
    return {};
  }

  size_t output_width(size_t) const override { return curve_ ? 1 : 0; }

 private:
  size_t width() const { return curve_ ? curve_->points().cols() : 0; }

  std::optional<functions::PrincipalCurve> curve_;
};

}  // namespace

StageInfo curve_stage() {
  StageInfo info;
  info.name = "curve";
  info.group = "transform";
  info.summary = "Keeps one number of a row: its place along a curve through the calibration rows.";
  info.params = describe<CurveParams>();
  info.make = stage_maker<Curve, CurveParams>("curve");
  return info;
}

}  // namespace kvsplice::codec
