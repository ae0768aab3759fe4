#include "codec/stage_case.h"

namespace kvsplice::codec {

StageCase focus_case() {
  StageCase c;
  c.stage = "focus";
  c.variants = {
      {"focus", {0.000175, 0.000239}, 16, 16.022},
      {"focus(keys=1,values=1,limit=2) | klt | step(delta=0.3)", {0.0307, 0.034}, 3.284, 3.419},
      {"layers(history=1) | focus | klt | step | range", {0.058, 0.0642}, 1.301, 1.355},
  };
  // Factors move with the reconstructions they are made from.
  c.idempotent = false;
  return c;
}

}  // namespace kvsplice::codec
