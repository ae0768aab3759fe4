// What `spline` and its fit share.
#pragma once

#include <string>

#include "codec/stage.h"
#include "codec/warp/training.h"
#include "functions/spline.h"

namespace kvsplice::codec {

struct SplineParams {
  int knots = 7;
  WarpTraining training{.epochs = 20, .lr = 2e-3};
  std::string loss = "rank";
  double error = 0.03;

  template <class V>
  void visit(V&& v) {
    v("knots", knots, "knots per column, at quantiles of the rows", Range{2, 64});
    training.visit(v);
    v("loss", loss,
      "what is trained for: error behind a PCA of that rank, or bits at a given error",
      Choice{"rank", "rate"});
    v("error", error,
      "rms error, relative to the rows' deviation, at which bits count (loss = rate)",
      Range{1e-4, 10});
  }
};

State save_spline(const functions::Spline<float>& spline);

}  // namespace kvsplice::codec
