// Training of an invertible warp through a linear bottleneck, the KVSplice seed's recipe: at each
// epoch's start the PCA of the warped rows, held constant within the epoch; then AdamW on
//
//   mean (warp^-1(PCA_rank(warp(x))) - x)^2
//
// over shuffled batches. A warp is a class like Spline or Flow.
#pragma once

#include <algorithm>
#include <cmath>
#include <numeric>

#include "core/progress.h"
#include "core/random.h"
#include "core/threads.h"
#include "linalg/linalg.h"
#include "train/adamw.h"
#include "train/pca.h"

namespace kvsplice::train {

// Pulls mean and variance of the warped columns towards 0 and 1. The seed's term is computed from
// detached statistics: it shows in the loss and has no gradient. `working` has one.
struct Whitening {
  enum class Gradient { none, working };
  double weight = 0;
  Gradient gradient = Gradient::none;
};

struct BottleneckOptions {
  size_t rank = 16;
  size_t epochs = 20;
  size_t batch = 256;  // an incomplete last one is dropped; fewer rows make one batch of all
  AdamWOptions optimiser = {};
  double clip = 0;  // largest norm of the gradient, 0: any
  Whitening whitening = {};
  uint64_t seed = 0;  // of the shuffles
};

// The loss of one batch and its gradient. Rows are cut into chunks of a fixed size, so that the
// result does not depend on the number of threads.
template <class Warp>
class BottleneckLoss {
 public:
  using T = typename Warp::Scalar;

  BottleneckLoss(const Warp& warp, size_t rank, const Whitening& whitening, size_t batch)
      : warp_(warp),
        mean_(warp.dim()),
        mean_along_(rank),
        basis_(rank, warp.dim()),
        whitening_(whitening) {
    for (size_t first = 0; first < batch; first += kChunk) {
      chunks_.emplace_back(warp, std::min(kChunk, batch - first), rank);
    }
  }

  // basis: [rank x dim], orthonormal rows.
  template <class U>
  void set_bottleneck(std::span<const U> mean, const Matrix<U>& basis) {
    std::copy(mean.begin(), mean.end(), mean_.begin());
    std::copy(basis.flat().begin(), basis.flat().end(), basis_.flat().begin());
    for (size_t k = 0; k < basis_.rows(); ++k) {
      mean_along_[k] = -std::inner_product(mean_.begin(), mean_.end(), basis_.row(k).begin(), T(0));
    }
  }

  // The batch is rows[picked[0]], rows[picked[1]], ...; gradient has the size of the parameters.
  double evaluate(MatrixView<const T> rows, std::span<const uint32_t> picked,
                  std::span<T> gradient) {
    const T scale = T(1) / T(picked.size() * rows.cols);
    const bool whitens = whitening_.weight > 0;
    double loss = 0;
    parallel_for(chunks_.size(), [&](size_t i) {
      Chunk& c = chunks_[i];
      c.gather(rows, picked.subspan(i * kChunk, c.x.rows()));
      warp_.forward(c.x, c.z, c.forward);
      if (whitens) c.gather_statistics();
      if (!whitens) there_and_back(c, scale);
    });
    if (whitens) {
      loss = whiten(picked.size());
      parallel_for(chunks_.size(), [&](size_t i) { there_and_back(chunks_[i], scale); });
    }
    add_up();
    warp_.parameter_gradient(chunks_[0].sums, gradient);
    for (const Chunk& c : chunks_) loss += c.squares * double(scale);
    return loss;
  }

 private:
  static constexpr size_t kChunk = 64;

  struct Chunk {
    Chunk(const Warp& warp, size_t n, size_t rank)
        : x(n, warp.dim()),
          z(n, warp.dim()),
          y(n, warp.dim()),
          back(n, warp.dim()),
          along(n, rank),
          sums(warp.sums_size()) {}

    void gather(MatrixView<const T> rows, std::span<const uint32_t> picked) {
      for (size_t r = 0; r < picked.size(); ++r) {
        std::copy_n(&rows(picked[r], 0), rows.cols, x.row(r).data());
      }
    }

    void gather_statistics() {
      total.assign(z.cols(), 0);
      square.assign(z.cols(), 0);
      for (size_t r = 0; r < z.rows(); ++r) {
        for (size_t c = 0; c < z.cols(); ++c) {
          total[c] += z(r, c);
          square[c] += double(z(r, c)) * z(r, c);
        }
      }
    }

    Matrix<T> x, z, y, back, along;
    typename Warp::Trace forward, inverse;
    std::vector<T> sums;
    std::vector<double> total, square;  // of every column of z
    double squares = 0;                 // of the errors
  };

  // out = offset + (in B^T + along_offset) B.
  void project(Chunk& c, const Matrix<T>& in, std::span<const T> along_offset,
               std::span<const T> offset, Matrix<T>& out) {
    const T keep = offset.empty() ? T(0) : T(1);
    for (size_t r = 0; r < c.x.rows() && !offset.empty(); ++r) {
      std::copy(along_offset.begin(), along_offset.end(), c.along.row(r).begin());
      std::copy(offset.begin(), offset.end(), out.row(r).begin());
    }
    gemm(Trans::no, Trans::yes, T(1), in, basis_, keep, c.along);
    gemm(Trans::no, Trans::no, T(1), c.along, basis_, keep, out);
  }

  void there_and_back(Chunk& c, T scale) {
    std::fill(c.sums.begin(), c.sums.end(), T(0));
    project(c, c.z, mean_along_, mean_, c.y);
    warp_.inverse(c.y, c.back, c.inverse);
    c.squares = elementwise_kernel::residual(c.back.data(), c.x.data(), c.x.size(), 2 * scale);
    warp_.inverse_backward(c.inverse, c.back, c.sums);
    project(c, c.back, {}, {}, c.y);
    if (!push_.empty()) push_apart(c);
    warp_.forward_backward(c.forward, c.y, c.sums);
  }

  // The whitening term, and its gradient with respect to column j of z: push_[j] (z - centre_[j]) +
  // shift.
  double whiten(size_t rows) {
    const size_t dim = mean_.size();
    const double n = double(rows), share = whitening_.weight / double(dim);
    double term = 0;
    const bool working = whitening_.gradient == Whitening::Gradient::working;
    push_.assign(working ? dim : 0, T(0));
    pull_ = push_;
    for (size_t j = 0; j < dim; ++j) {
      double total = 0, square = 0;
      for (const Chunk& c : chunks_) total += c.total[j], square += c.square[j];
      const double mean = total / n, variance = square / n - mean * mean;
      term += share * (mean * mean + (variance - 1) * (variance - 1));
      if (!working) continue;
      push_[j] = T(4 * share * (variance - 1) / n);
      pull_[j] = T(2 * share * mean / n) - push_[j] * T(mean);
    }
    return term;
  }

  void push_apart(Chunk& c) {
    for (size_t r = 0; r < c.z.rows(); ++r) {
      for (size_t j = 0; j < push_.size(); ++j) c.y(r, j) += push_[j] * c.z(r, j) + pull_[j];
    }
  }

  // All sums go to the first chunk's, in the order of the chunks.
  void add_up() {
    parallel_chunks(chunks_[0].sums.size(), 1 << 14, [&](size_t first, size_t n) {
      for (size_t i = 1; i < chunks_.size(); ++i) {
        for (size_t k = first; k < first + n; ++k) chunks_[0].sums[k] += chunks_[i].sums[k];
      }
    });
  }

  const Warp& warp_;
  std::vector<T> mean_, mean_along_;  // the latter: - basis * mean
  Matrix<T> basis_;
  Whitening whitening_;
  std::vector<Chunk> chunks_;
  std::vector<T> push_, pull_;  // gradient of the whitening term: push * z + pull
};

// What makes a gradient no longer than `limit` (0: any length).
inline float clip_factor(std::span<const float> gradient, double limit) {
  if (limit <= 0) return 1;
  const double squares = elementwise_kernel::sum_of_squares(gradient.data(), gradient.size());
  return float(std::min(1.0, limit / (std::sqrt(squares) + 1e-6)));
}

// Trains `warp` on rows [n x dim]; returns the mean loss of the last epoch.
template <class Warp>
Result<double> fit_through_pca(Warp& warp, MatrixView<const float> rows,
                               const BottleneckOptions& options, const Progress& progress = {}) {
  const size_t batch = std::min(options.batch, rows.rows);
  const size_t rank = std::min(options.rank, rows.cols);
  std::vector<uint32_t> order(rows.rows);
  for (uint32_t i = 0; i < order.size(); ++i) order[i] = i;
  Random random(options.seed);
  AdamW<float> optimiser(warp.parameters().size(), options.optimiser);
  std::vector<float> gradient(warp.parameters().size());
  Matrix<float> warped(rows.rows, rows.cols);
  BottleneckLoss<Warp> loss(warp, rank, options.whitening, batch);
  double mean_loss = 0;
  for (size_t epoch = 0; epoch < options.epochs; ++epoch) {
    KVS_TRY(progress.step("training the warp", epoch, options.epochs));
    warp.forward(rows, warped);
    KVS_ASSIGN(const Pca pca, fit_pca(warped, rank));
    loss.set_bottleneck(std::span<const float>(pca.mean), pca.basis);
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
