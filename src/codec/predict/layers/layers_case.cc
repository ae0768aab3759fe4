#include "codec/stage_case.h"

namespace kvsplice::codec {

StageCase layers_case() {
  StageCase c;
  c.stage = "layers";
  c.variants = {
      {"layers", {5.69e-05, 7.71e-05}, 16, 16.022},
      {"layers(history=1,embedding=off) | klt | step(delta=0.3)", {0.0322, 0.0357}, 2.935, 3.056},
      {"layers(history=2,rank=3,noise=0.01) | step", {0.0661, 0.0731}, 3.692, 3.844},
      {"layers(history=1,directions=5) | klt | step(delta=0.3)", {0.0326, 0.0360}, 2.947, 3.069},
      {"layers(history=0,noise=0.02) | klt | step | range", {0.0603, 0.0667}, 1.43, 1.49},
      // What `kvsplice calibrate` fits if nothing else is said.
      {"layers(history=3) | focus | fisher | klt(stored=packed) | step(delta=0.6,recall=512) | "
       "range",
       {0.0343, 0.038},
       2.041,
       2.125},
  };
  // Values left as f16 are rounded about a prediction that the rounding has moved.
  c.idempotent = false;
  return c;
}

}  // namespace kvsplice::codec
