// The warps under study behind one interface: rows bent before a PCA and back after it.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "core/progress.h"
#include "experiments/kvsplice/options.h"
#include "train/pca.h"

namespace kvsplice::experiment {

using RowMap = std::function<void(MatrixView<const float>, MatrixView<float>)>;

struct WarpMap {
  RowMap forward, inverse;
};

enum class Warp { none, spline, flow };
constexpr Warp kWarps[] = {Warp::none, Warp::spline, Warp::flow};
inline const char* name(Warp warp) {
  constexpr const char* names[] = {"pca", "spline", "flow"};
  return names[int(warp)];
}

// Trained by the seed's recipe through `rank` components.
Result<WarpMap> train_warp(Warp warp, MatrixView<const float> rows, size_t rank,
                           const StudyOptions& options, uint64_t seed);

// A spline trained for the bits of its coordinates at an rms error, relative to the rows'.
Result<WarpMap> train_for_rate(MatrixView<const float> rows, double error,
                               const StudyOptions& options);

// A warp and the PCA of the training rows behind it.
struct WarpedPca {
  WarpMap warp;
  train::Pca pca;

  static Result<WarpedPca> fit(WarpMap warp, MatrixView<const float> rows, size_t rank);
  Matrix<float> through(size_t rank, MatrixView<const float> rows) const;
};

// Errors on the test rows at every rank of `ks`.
Result<std::vector<double>> test_errors(WarpMap warp, MatrixView<const float> train,
                                        MatrixView<const float> test, const std::vector<int>& ks);

}  // namespace kvsplice::experiment
