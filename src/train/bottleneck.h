// The KVSplice seed's loss: what rows lose on the way through warp and linear bottleneck,
//
//   mean (warp^-1(PCA_rank(warp(x))) - x)^2,
//
// with the PCA of the warped rows held constant within an epoch.
#pragma once

#include <numeric>

#include "linalg/linalg.h"
#include "train/warp_fit.h"

namespace kvsplice::train {

// Pulls mean and variance of the warped columns towards 0 and 1. The seed's term is computed from
// detached statistics: it shows in the loss and has no gradient. `working` has one.
struct Whitening {
  enum class Gradient { none, working };
  double weight = 0;
  Gradient gradient = Gradient::none;
};

template <class Warp>
class BottleneckLoss {
 public:
  using T = typename Warp::Scalar;

  BottleneckLoss(const Warp& warp, size_t rank, const Whitening& whitening, size_t batch)
      : warp_(warp),
        mean_(warp.dim()),
        mean_along_(rank),
        basis_(rank, warp.dim()),
        whitening_(whitening),
        chunks_(chunks_of_batch<Chunk>(batch, warp, rank)) {}

  // basis: [rank x dim], orthonormal rows.
  template <class U>
  void set_pca(std::span<const U> mean, const Matrix<U>& basis) {
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
      c.start(warp_, rows, picked.subspan(i * kWarpChunk, c.x.rows()));
      if (whitens) c.gather_statistics();
      if (!whitens) there_and_back(c, scale);
    });
    if (whitens) {
      loss = whiten(picked.size());
      parallel_for(chunks_.size(), [&](size_t i) { there_and_back(chunks_[i], scale); });
    }
    gather_gradient(warp_, chunks_, gradient);
    for (const Chunk& c : chunks_) loss += c.squares * double(scale);
    return loss;
  }

 private:
  struct Chunk : WarpChunk<Warp> {
    Chunk(size_t n, const Warp& warp, size_t rank)
        : WarpChunk<Warp>(warp, n), y(n, warp.dim()), back(n, warp.dim()), along(n, rank) {}

    void gather_statistics() {
      total.assign(this->z.cols(), 0);
      square.assign(this->z.cols(), 0);
      for (size_t r = 0; r < this->z.rows(); ++r) {
        for (size_t c = 0; c < this->z.cols(); ++c) {
          const double value = this->z(r, c);
          total[c] += value;
          square[c] += value * value;
        }
      }
    }

    Matrix<T> y, back, along;
    typename Warp::Trace inverse;
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
    project(c, c.z, mean_along_, mean_, c.y);
    warp_.inverse(c.y, c.back, c.inverse);
    c.squares = elementwise_kernel::residual(c.back.data(), c.x.data(), c.x.size(), 2 * scale);
    warp_.inverse_backward(c.inverse, c.back, c.sums);
    project(c, c.back, {}, {}, c.y);
    if (!push_.empty()) push_apart(c);
    warp_.forward_backward(c.forward, c.y, c.sums);
  }

  // The whitening term; its gradient with respect to column j of z is push_[j] z + pull_[j].
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

  const Warp& warp_;
  std::vector<T> mean_, mean_along_;  // the latter: - basis * mean
  Matrix<T> basis_;
  Whitening whitening_;
  std::vector<Chunk> chunks_;
  std::vector<T> push_, pull_;  // gradient of the whitening term: push * z + pull
};

// Trains `warp` by the seed's recipe through `rank` components.
template <class Warp>
Result<double> fit_through_pca(Warp& warp, MatrixView<const float> rows, size_t rank,
                               const WarpFitOptions& options, const Whitening& whitening = {},
                               const Progress& progress = {}) {
  rank = std::min(rank, rows.cols);
  BottleneckLoss<Warp> loss(warp, rank, whitening, batch_of(options, rows.rows));
  return fit_warp(warp, loss, rank, rows, options, progress);
}

}  // namespace kvsplice::train
