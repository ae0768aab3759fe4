#include "codec/stage_case.h"

namespace kvsplice::codec {

StageCase step_case() {
  StageCase c;
  c.stage = "step";
  c.variants = {
      {"step", {0.07, 0.1}, 4, 4.6},
      {"step(delta=0.1,offset=0.5)", {0.011, 0.017}, 6.5, 7.2},
      {"step(delta=0.1,of=rows)", {0.011, 0.018}, 6.5, 7.2},
      {"klt | step(delta=0.6)", {0.055, 0.085}, 2.1, 2.5},
      {"klt | step(delta=0.6,recall=64)", {0.055, 0.085}, 2.1, 2.5},
  };
  return c;
}

}  // namespace kvsplice::codec
