#include "codec/stage_case.h"

namespace kvsplice::codec {

StageCase spline_case() {
  StageCase c;
  c.stage = "spline";
  c.variants = {
      {"spline(epochs=2)", {0.000191, 0.000319}, 16, 16.022},
      {"spline(epochs=2,knots=2,batch=50)", {0.00019, 0.000318}, 16, 16.022},
      {"spline(epochs=2,loss=rate) | klt | step(delta=0.3)", {0.0384, 0.049}, 2.37, 2.568},
      {"spline(epochs=2,rank=4) | klt(rank=8)", {0.183, 0.234}, 2, 2.022},
  };
  // Slopes are multiplied and divided in float: values come back to rounding.
  c.idempotent = false;
  return c;
}

}  // namespace kvsplice::codec
