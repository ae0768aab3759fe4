#include "codec/stage_case.h"

namespace kvsplice::codec {

StageCase rotmean_case() {
  StageCase c;
  c.stage = "rotmean";
  c.variants = {
      {"rotmean", {0.363, 0.402}, 0, 0.02},
      {"k: rotate | rotmean ; v: rotmean", {0.604, 0.669}, 0, 0.02},
  };
  return c;
}

}  // namespace kvsplice::codec
