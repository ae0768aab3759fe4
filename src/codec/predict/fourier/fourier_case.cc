#include "codec/stage_case.h"

namespace kvsplice::codec {

StageCase fourier_case() {
  StageCase c;
  c.stage = "fourier";
  c.variants = {
      {"fourier(count=20,type=f32)", {0.05, 0.95}, 5, 5.3},
      {"fourier(count=30,band=60,seed=3)", {0.05, 0.95}, 3.7, 4.1},
  };
  c.idempotent = false;  // weights of rounded rows are rounded again
  return c;
}

}  // namespace kvsplice::codec
