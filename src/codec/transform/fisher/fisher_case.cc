#include "codec/stage_case.h"

namespace kvsplice::codec {

StageCase fisher_case() {
  StageCase c;
  c.stage = "fisher";
  c.variants = {
      {"fisher", {0.000178, 0.000242}, 16, 16.022},
      {"fisher | klt | step(delta=0.3)", {0.0164, 0.0182}, 3.672, 3.823},
      {"fisher(power=0.5,units=0,floor=0.000001) | klt | step(delta=0.3)",
       {0.0312, 0.0345},
       2.866,
       2.984},
      {"layers(history=1) | fisher | klt | step | range", {0.0343, 0.038}, 1.968, 2.049},
  };
  // Matrix and inverse undo each other up to rounding.
  c.idempotent = false;
  return c;
}

}  // namespace kvsplice::codec
