#include "codec/stage_case.h"

namespace kvsplice::codec {

StageCase fisher_case() {
  StageCase c;
  c.stage = "fisher";
  c.variants = {
      {"fisher", {1e-4, 4e-4}, 16, 16.1},
      {"fisher | klt | step(delta=0.3)", {0.019, 0.032}, 3.3, 3.9},
      {"fisher(power=0.5,units=0,floor=0.000001) | klt | step(delta=0.3)",
       {0.032, 0.05},
       2.75,
       3.3},
      {"layers(history=1) | fisher | klt | step | range", {0.036, 0.06}, 1.6, 2.2},
  };
  // Matrix and inverse undo each other up to rounding.
  c.idempotent = false;
  return c;
}

}  // namespace kvsplice::codec
