// What the coder and its fit share.
#pragma once

#include "codec/stage.h"
#include "range/fit.h"

namespace kvsplice::codec {

struct RangeParams {
  template <class V>
  void visit(V&&) {}
};

// All arrays hold integers.
State state_of(const range::Calibration& calibration);

}  // namespace kvsplice::codec
