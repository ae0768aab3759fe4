#include "codec/checks.h"
#include "codec/predict/rotmean/rotmean.h"
#include "fit/stage_fit.h"
#include "linalg/linalg.h"

namespace kvsplice::codec {

namespace {

Result<State> fit_rotmean(const RotmeanParams&, const Rows& rows, const FitContext&) {
  KVS_TRY(check_finite(rows.values));
  const auto means = column_means(rows.values);
  State state;
  state["mean"] = {{means.size()}, {means.begin(), means.end()}};
  return state;
}

}  // namespace

StageFit rotmean_fit() { return stage_fit<RotmeanParams>("rotmean", fit_rotmean); }

}  // namespace kvsplice::codec
