#include "codec/stage_case.h"

namespace kvsplice::codec {

StageCase dct_case() {
  StageCase c;
  c.stage = "dct";
  c.variants = {
      {"dct(count=64)", {0.276, 0.306}, 3.953, 4.115},
      {"dct(count=32,order=low,type=f32)", {0.33, 0.366}, 4, 4.023},
      {"dct(count=256,type=f32)", {1e-8, 1e-5}, 31.486, 32.772},
  };
  c.idempotent = false;  // coefficients of rounded rows are rounded again
  c.learns = false;
  return c;
}

}  // namespace kvsplice::codec
