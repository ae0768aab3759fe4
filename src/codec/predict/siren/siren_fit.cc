// Networks of the calibration rows, for when just these rows are coded.
#include "codec/checks.h"
#include "codec/predict/siren/networks.h"
#include "fit/stage_fit.h"

namespace kvsplice::codec {

namespace {

Result<State> fit_siren(const SirenParams& params, const Rows& rows, const FitContext& context) {
  KVS_TRY(check_heads(context.unit, rows.values.cols()));
  KVS_ASSIGN(const auto models,
             train_networks(params, context.unit, rows.values, context.progress));
  return save_networks(models, hash_rows(context));
}

}  // namespace

StageFit siren_fit() { return stage_fit<SirenParams>("siren", fit_siren); }

}  // namespace kvsplice::codec
