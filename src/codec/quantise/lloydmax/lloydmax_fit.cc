// Levels of least squared error, by Lloyd's method on the values of each column.
#include <algorithm>

#include "codec/checks.h"
#include "codec/quantise/lloydmax/lloydmax.h"
#include "core/threads.h"
#include "fit/stage_fit.h"
#include "solve/lloyd.h"

namespace kvsplice::codec {

namespace {

Result<State> fit_lloydmax(const LloydMaxParams& params, const Rows& rows, const FitContext&) {
  const MatrixView<const float> x = rows.values;
  KVS_TRY(check_some_columns(x.cols));
  if (x.rows == 0) return Error{ErrorKind::numeric, "no rows to learn levels from"};
  KVS_TRY(check_finite(x));
  const size_t count = params.levels();
  StateArray all{{x.cols, count}, std::vector<float>(x.cols * count)};
  parallel_for(x.cols, [&](size_t c) {
    const auto levels = SortedColumn(x, c).levels(count);
    std::copy(levels.begin(), levels.end(), all.values.begin() + c * count);
  });
  return State{{"levels", std::move(all)}};
}

}  // namespace

StageFit lloydmax_fit() { return stage_fit<LloydMaxParams>("lloydmax", fit_lloydmax); }

}  // namespace kvsplice::codec
