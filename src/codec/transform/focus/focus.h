// What the stage and its fit share.
#pragma once

#include "codec/side_by_side.h"
#include "codec/stage.h"

namespace kvsplice::codec {

struct FocusParams {
  double keys = 0.2;
  double values = 0.4;
  double limit = 3;

  template <class V>
  void visit(V&& v) {
    v("keys", keys, "exponent of the attention, for keys; 0 scales nothing", Range{0, 2});
    v("values", values, "the same for values", Range{0, 2});
    v("limit", limit, "the largest factor, and one over the smallest", Range{1, 1000});
  }

  double strength(Kind kind) const { return kind == Kind::key ? keys : values; }
};

// What tells of the attention: of values the keys of their layer, of keys the keys and values of
// the layer below.
SideBySide focus_sources(const FocusParams& params, const CodeContext& context);

// weights: [heads x values read], exact in f16; bias: per head.
State focus_state(const Matrix<float>& weights, const std::vector<float>& bias);

}  // namespace kvsplice::codec
