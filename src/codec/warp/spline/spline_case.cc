#include "codec/stage_case.h"

namespace kvsplice::codec {

StageCase spline_case() {
  StageCase c;
  c.stage = "spline";
  c.variants = {
      {"spline(epochs=2)", {1e-5, 2e-3}, 16, 16.3},
      {"spline(epochs=2,knots=2,batch=50)", {1e-5, 2e-3}, 16, 16.3},
      {"spline(epochs=2,loss=rate) | klt | step(delta=0.3)", {0.01, 0.6}, 1, 8},
      {"spline(epochs=2,rank=4) | klt(rank=8)", {0.01, 0.9}, 2, 2.3},
  };
  // Slopes are multiplied and divided in float: values come back to rounding.
  c.idempotent = false;
  return c;
}

}  // namespace kvsplice::codec
