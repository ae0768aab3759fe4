#include "codec/stage_case.h"

namespace kvsplice::codec {

StageCase dct_case() {
  StageCase c;
  c.stage = "dct";
  c.variants = {
      {"dct(count=64)", {0.05, 0.9}, 4, 4.3},
      {"dct(count=32,order=low,type=f32)", {0.05, 0.95}, 4, 4.2},
      {"dct(count=256,type=f32)", {1e-8, 1e-5}, 32, 32.3},
  };
  c.idempotent = false;  // coefficients of rounded rows are rounded again
  return c;
}

}  // namespace kvsplice::codec
