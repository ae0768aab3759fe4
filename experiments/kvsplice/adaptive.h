// A codec that follows the rows it codes: warp and PCA trained further on what has arrived.
#pragma once

#include "experiments/kvsplice/rows.h"

namespace kvsplice::experiment {

struct AdaptiveOptions {
  size_t rank = 8;
  bool warp = true;     // a spline before the PCA, or PCA alone
  bool online = false;  // refreshed after every block and sent, f16; or left as fitted
  size_t epochs = 20;   // of the first training; a refresh takes kRefreshEpochs
};

// `stream` is coded in blocks of 256 rows, f16 coordinates; bytes count what is sent to refresh the
// decoder: the PCA's mean and basis, the spline's parameters (its knots stay).
Result<CodedRows> code_stream(MatrixView<const float> train, MatrixView<const float> stream,
                              const AdaptiveOptions& options);

}  // namespace kvsplice::experiment
