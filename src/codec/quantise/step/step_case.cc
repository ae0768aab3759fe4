#include "codec/stage_case.h"

namespace kvsplice::codec {

StageCase step_case() {
  StageCase c;
  c.stage = "step";
  c.variants = {
      {"step", {0.01, 0.5}, 1, 8},
      {"step(delta=0.1,offset=0.5)", {0.01, 0.5}, 1, 8},
      {"step(delta=0.1,of=rows)", {0.01, 0.5}, 1, 8},
      {"klt | step(delta=0.6)", {0.01, 0.5}, 1, 8},
  };
  return c;
}

}  // namespace kvsplice::codec
