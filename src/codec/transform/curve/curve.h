// What the stage and its fit share.
#pragma once

#include "core/params.h"

namespace kvsplice::codec {

struct CurveParams {
  int knots = 64;
  int iterations = 10;

  template <class V>
  void visit(V&& v) {
    v("knots", knots, "corners of the curve", Range{2, 4096});
    v("iterations", iterations, "rounds of projection and regression", Range{0, 1000});
  }
};

}  // namespace kvsplice::codec
