#include "codec/stage_case.h"

namespace kvsplice::codec {

StageCase fourier_case() {
  StageCase c;
  c.stage = "fourier";
  c.variants = {
      {"fourier(count=20,type=f32)", {0.325, 0.36}, 5.025, 5.231},
      {"fourier(count=30,band=60,seed=3)", {0.307, 0.341}, 3.739, 3.892},
  };
  c.idempotent = false;  // weights of rounded rows are rounded again
  return c;
}

}  // namespace kvsplice::codec
