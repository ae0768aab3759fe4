#include <fmt/format.h>

#include "codec/transform/curve/curve.h"
#include "fit/stage_fit.h"
#include "train/fit_principal_curve.h"

namespace kvsplice::codec {

namespace {

Result<State> fit_curve(const CurveParams& params, const Rows& rows, const FitContext& context) {
  if (rows.values.rows() < 2) {
    return Error{ErrorKind::numeric,
                 fmt::format("{} rows to lay a curve through; at least 2", rows.values.rows())};
  }
  const train::PrincipalCurveOptions options{size_t(params.knots), size_t(params.iterations)};
  KVS_ASSIGN(const auto curve, train::fit_principal_curve(rows.values, options, context.progress));
  const Matrix<float>& points = curve.points();
  State state;
  state["points"] = {{points.rows(), points.cols()}, {points.flat().begin(), points.flat().end()}};
  return state;
}

}  // namespace

StageFit curve_fit() { return stage_fit<CurveParams>("curve", fit_curve); }

}  // namespace kvsplice::codec
