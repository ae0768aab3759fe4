#include "codec/stage_case.h"

namespace kvsplice::codec {

StageCase layers_case() {
  StageCase c;
  c.stage = "layers";
  // The generated cache has nothing to predict: what these bound is that prediction does no harm.
  c.variants = {
      {"layers", {1e-5, 1e-3}, 16, 16.3},
      {"layers(history=1,embedding=off) | klt | step(delta=0.3)", {0.02, 0.3}, 1, 8},
      {"layers(history=2,rank=3,noise=0.01) | step", {0.02, 0.4}, 1, 8},
      {"layers(history=0,noise=0.02) | klt | step | range", {0.05, 0.4}, 0.5, 4},
  };
  // Values left as f16 are rounded about a prediction that the rounding has moved.
  c.idempotent = false;
  return c;
}

}  // namespace kvsplice::codec
