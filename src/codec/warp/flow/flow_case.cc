#include "codec/stage_case.h"

namespace kvsplice::codec {

StageCase flow_case() {
  StageCase c;
  c.stage = "flow";
  c.variants = {
      {"flow(epochs=1,hidden=8)", {1e-5, 5e-3}, 16, 16.3},
      {"flow(epochs=1,hidden=8,blocks=2,regulariser=working) | klt(rank=8)", {0.01, 0.9}, 2, 2.3},
      {"flow(epochs=1,hidden=8) | klt | step(delta=0.3)", {0.01, 0.6}, 1, 8},
  };
  // Couplings are computed in float: values come back to rounding.
  c.idempotent = false;
  return c;
}

}  // namespace kvsplice::codec
