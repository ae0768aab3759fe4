#include "codec/stage_case.h"

namespace kvsplice::codec {

StageCase focus_case() {
  StageCase c;
  c.stage = "focus";
  c.variants = {
      {"focus", {1e-5, 1e-3}, 16, 16.3},
      {"focus(keys=1,values=1,limit=2) | klt | step(delta=0.3)", {0.02, 0.3}, 1, 8},
      {"layers(history=1) | focus | klt | step | range", {0.05, 0.4}, 0.5, 4},
  };
  // Factors move with the reconstructions they are made from.
  c.idempotent = false;
  return c;
}

}  // namespace kvsplice::codec
