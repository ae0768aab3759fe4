#include "codec/checks.h"
#include "codec/entropy/range/range.h"
#include "fit/stage_fit.h"

namespace kvsplice::codec {

namespace {

Result<State> fit_range(const RangeParams&, const Rows& rows, const FitContext&) {
  KVS_TRY(check_some_columns(rows.codes.cols()));
  if (rows.codes.rows() == 0) return Error{ErrorKind::numeric, "no rows to learn from"};
  return state_of(range::calibrate(rows.codes, range::medians(rows.codes)));
}

}  // namespace

StageFit range_fit() { return stage_fit<RangeParams>("range", fit_range); }

}  // namespace kvsplice::codec
