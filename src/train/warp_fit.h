// What every training of a warp shares: batches cut into chunks, and the loop over epochs.
//
// A warp is a class like Spline or Flow: an invertible map of rows with parameters. A loss is a
// class like BottleneckLoss: it is told the PCA of the warped rows at each epoch's start and then
// gives value and gradient batch by batch.
#pragma once

#include <algorithm>
#include <cmath>

#include "core/progress.h"
#include "core/random.h"
#include "core/threads.h"
#include "train/adamw.h"
#include "train/pca.h"

namespace kvsplice::train {

struct WarpFitOptions {
  size_t epochs = 20;
  size_t batch = 256;  // an incomplete last one is dropped; fewer rows make one batch of all
  AdamWOptions optimiser = {};
  double clip = 0;    // largest norm of the gradient, 0: any
  uint64_t seed = 0;  // of the shuffles
};

// Rows of a batch that one thread works on. Their number is fixed, so that results do not depend on
// how many threads there are.
constexpr size_t kWarpChunk = 64;

template <class Warp>
struct WarpChunk {
  using T = typename Warp::Scalar;

  WarpChunk(const Warp& warp, size_t n)
      : x(n, warp.dim()), z(n, warp.dim()), sums(warp.sums_size()) {}

  // Takes the rows of the chunk's share of the batch through the warp.
  void start(const Warp& warp, MatrixView<const T> rows, std::span<const uint32_t> picked) {
    for (size_t r = 0; r < picked.size(); ++r) {
      std::copy_n(&rows(picked[r], 0), rows.cols, x.row(r).data());
    }
    warp.forward(x, z, forward);
    std::fill(sums.begin(), sums.end(), T(0));
  }

  Matrix<T> x, z;
  typename Warp::Trace forward;
  std::vector<T> sums;  // gradient, as the warp gathers it
};

// The chunks of a batch; C is a WarpChunk with what a loss keeps besides.
template <class C, class... Args>
std::vector<C> chunks_of_batch(size_t batch, const Args&... args) {
  std::vector<C> chunks;
  for (size_t first = 0; first < batch; first += kWarpChunk) {
    chunks.emplace_back(std::min(kWarpChunk, batch - first), args...);
  }
  return chunks;
}

// The gradient of the parameters from the sums of all chunks, added in order to the first's.
template <class Warp, class C>
void gather_gradient(const Warp& warp, std::vector<C>& chunks,
                     std::span<typename Warp::Scalar> gradient) {
  parallel_chunks(chunks[0].sums.size(), 1 << 14, [&](size_t first, size_t n) {
    for (size_t i = 1; i < chunks.size(); ++i) {
      for (size_t k = first; k < first + n; ++k) chunks[0].sums[k] += chunks[i].sums[k];
    }
  });
  warp.parameter_gradient(chunks[0].sums, gradient);
}

// What makes a gradient no longer than `limit` (0: any length).
inline float clip_factor(std::span<const float> gradient, double limit) {
  if (limit <= 0) return 1;
  const double squares = elementwise_kernel::sum_of_squares(gradient.data(), gradient.size());
  return float(std::min(1.0, limit / (std::sqrt(squares) + 1e-6)));
}

inline size_t batch_of(const WarpFitOptions& options, size_t rows) {
  return std::min(options.batch, rows);
}

// Trains `warp` on rows [n x dim], n >= 1, with a loss made for it and for batch_of(options, n)
// rows, whose PCA has `rank` components; returns the mean loss of the last epoch.
template <class Warp, class Loss>
Result<double> fit_warp(Warp& warp, Loss& loss, size_t rank, MatrixView<const float> rows,
                        const WarpFitOptions& options, const Progress& progress) {
  const size_t batch = batch_of(options, rows.rows);
  std::vector<uint32_t> order(rows.rows);
  for (uint32_t i = 0; i < order.size(); ++i) order[i] = i;
  Random random(options.seed);
  AdamW<float> optimiser(warp.parameters().size(), options.optimiser);
  std::vector<float> gradient(warp.parameters().size());
  Matrix<float> warped(rows.rows, rows.cols);
  double mean_loss = 0;
  for (size_t epoch = 0; epoch < options.epochs; ++epoch) {
    KVS_TRY(progress.step("training the warp", epoch, options.epochs));
    warp.forward(rows, warped);
    KVS_ASSIGN(const Pca pca, fit_pca(warped, rank, Sums::fast));
    loss.set_pca(std::span<const float>(pca.mean), pca.basis);
    random.shuffle(order);
    double sum = 0;
    size_t batches = 0;
    for (size_t first = 0; first + batch <= order.size(); first += batch, ++batches) {
      sum += loss.evaluate(rows, std::span<const uint32_t>(order).subspan(first, batch), gradient);
      optimiser.step(warp.parameters(), gradient, clip_factor(gradient, options.clip));
      warp.parameters_changed();
    }
    mean_loss = sum / double(batches);
  }
  return mean_loss;
}

}  // namespace kvsplice::train
