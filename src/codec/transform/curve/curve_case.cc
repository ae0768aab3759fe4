#include "codec/stage_case.h"

namespace kvsplice::codec {

StageCase curve_case() {
  StageCase c;
  c.stage = "curve";
  c.variants = {
      {"curve(knots=12)", {0.283, 0.362}, 0.25, 0.2715},
      {"curve(knots=12) | step(delta=0.3)", {0.283, 0.362}, 0.1528, 0.1656},
  };
  // The nearest point is computed in float: a point of the curve comes back to rounding.
  c.idempotent = false;
  return c;
}

}  // namespace kvsplice::codec
