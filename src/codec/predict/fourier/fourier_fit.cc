// The band of frequencies that the calibration rows ask for.
#include <algorithm>

#include "codec/predict/fourier/fourier.h"
#include "fit/stage_fit.h"
#include "functions/dct.h"

namespace kvsplice::codec {

namespace {

Result<State> fit_fourier(const FourierParams&, const Rows& rows, const FitContext& context) {
  KVS_TRY(check_heads(context.unit, rows.values.cols()));
  KVS_TRY(check_finite(rows.values));
  const size_t n = std::max<size_t>(rows.count(), 2);
  const size_t wide =
      rows.count() < 2
          ? n
          : functions::bandwidth(functions::Dct(rows.count()).forward(rows.values), 0.8);
  // Row k of the cosine transform has k / 2 cycles.
  State state;
  state["band"] = {{1}, {std::clamp(float(wide) / float(2 * (n - 1)), kLeastBand, kNyquist)}};
  return state;
}

}  // namespace

StageFit fourier_fit() { return stage_fit<FourierParams>("fourier", fit_fourier); }

}  // namespace kvsplice::codec
