// What every trained warp is told about its training.
#pragma once

#include "core/params.h"

namespace kvsplice::codec {

struct WarpTraining {
  int epochs;
  double lr;
  int rank = 16;
  double decay = 1e-4;
  int batch = 256;
  int seed = 0;

  template <class V>
  void visit(V&& v) {
    v("epochs", epochs, "passes over the rows", Range{0, 10000});
    v("rank", rank, "principal components it is trained through", Range{1, 1 << 20});
    v("lr", lr, "learning rate of AdamW", Range{0, 1});
    v("decay", decay, "weight decay of AdamW", Range{0, 1});
    v("batch", batch, "rows of a step", Range{1, 1 << 20});
    v("seed", seed, "of the order of rows and all else that is random", Range{0, 1e9});
  }
};

}  // namespace kvsplice::codec
