// What `flow` and its fit share.
#pragma once

#include <string>

#include "codec/stage.h"
#include "codec/warp/training.h"
#include "functions/flow.h"

namespace kvsplice::codec {

struct FlowParams {
  int blocks = 3;
  int hidden = 128;
  WarpTraining training{.epochs = 12, .lr = 1e-3};
  double clip = 1;
  std::string regulariser = "reference";
  double weight = 1e-4;

  template <class V>
  void visit(V&& v) {
    v("blocks", blocks, "couplings, each with a permutation behind it", Range{1, 64});
    v("hidden", hidden, "width of the networks' two hidden layers", Range{1, 4096});
    training.visit(v);
    v("clip", clip, "largest norm of a gradient; 0: any", Range{0, 1e9});
    v("regulariser", regulariser,
      "pull towards mean 0 and variance 1: as the seed has it, without gradient, or working",
      Choice{"reference", "working"});
    v("weight", weight, "of the regulariser in the loss", Range{0, 1e6});
  }

  functions::FlowShape shape(size_t width) const { return {width, size_t(blocks), size_t(hidden)}; }
};

// A flow of rows divided by `scale`.
State save_flow(const functions::Flow<float>& flow, float scale);

}  // namespace kvsplice::codec
