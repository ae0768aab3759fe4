#include "codec/stage_case.h"

namespace kvsplice::codec {

StageCase rotmean_case() {
  StageCase c;
  c.stage = "rotmean";
  c.variants = {
      {"rotmean", {0.363, 0.402}, 0, 0.02},
      {"k: rotate | rotmean ; v: rotmean", {0.604, 0.669}, 0, 0.02},
      {"rotmean(rest=on) | step(delta=0.3)", {0.0331, 0.0365}, 4.51, 4.99},
  };
  return c;
}

}  // namespace kvsplice::codec
