#include "codec/stage_case.h"

namespace kvsplice::codec {

StageCase flow_case() {
  StageCase c;
  c.stage = "flow";
  c.variants = {
      {"flow(epochs=1,hidden=8)", {0.000154, 0.000258}, 16, 16.022},
      {"flow(epochs=1,hidden=8,blocks=2,regulariser=working) | klt(rank=8)",
       {0.183, 0.234},
       2,
       2.022},
      {"flow(epochs=2,lr=0.03,hidden=8) | klt | step(delta=0.3)", {0.0288, 0.0367}, 3.035, 3.289},
  };
  // Couplings are computed in float: values come back to rounding.
  c.idempotent = false;
  return c;
}

}  // namespace kvsplice::codec
