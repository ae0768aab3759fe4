#include "codec/stage_case.h"

namespace kvsplice::codec {

StageCase rotmean_case() {
  StageCase c;
  c.stage = "rotmean";
  c.variants = {
      {"rotmean", {0.05, 0.95}, 0, 0.1},
      {"k: rotate | rotmean ; v: rotmean", {0.05, 1.2}, 0, 0.1},
  };
  return c;
}

}  // namespace kvsplice::codec
