// What every trained warp is told about its training.
#pragma once

#include "codec/make_stage.h"
#include "train/warp_fit.h"

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

  train::WarpFitOptions options() const {
    train::WarpFitOptions options;
    options.epochs = size_t(epochs);
    options.batch = size_t(batch);
    options.optimiser.rate = lr;
    options.optimiser.decay = decay;
    options.seed = uint64_t(seed);
    return options;
  }
};

}  // namespace kvsplice::codec
