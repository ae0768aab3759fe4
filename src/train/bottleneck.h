// The KVSplice seed's loss: what rows lose on the way through warp and linear bottleneck,
//
//   mean (warp^-1(PCA_rank(warp(x))) - x)^2,
//
// with the PCA of the warped rows held constant within an epoch.
#pragma once

#include <numeric>

#include "train/thin_product_kernel.h"
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
        mean_along_(padded(rank)),
        basis_(padded(rank), warp.dim()),
        directions_(warp.dim(), padded(rank)),
        whitening_(whitening),
        chunks_(chunks_of_batch<Chunk>(batch, warp, padded(rank))) {}

  // basis: [rank x dim] of the rank given at the start, orthonormal rows.
  template <class U>
  void set_pca(std::span<const U> mean, const Matrix<U>& basis) {
    std::copy(mean.begin(), mean.end(), mean_.begin());
    std::copy(basis.flat().begin(), basis.flat().end(), basis_.flat().begin());
    for (size_t k = 0; k < basis.rows(); ++k) {
      for (size_t c = 0; c < basis_.cols(); ++c) directions_(c, k) = basis_(k, c);
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
        : WarpChunk<Warp>(warp, n), y(n, warp.dim()), along(n, rank) {}

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

    Matrix<T> y, along;
    typename Warp::BackTrace back;
    std::vector<double> total, square;  // of every column of z
    double squares = 0;                 // of the errors
  };

  // Rows of zeros behind the basis make whole vectors.
  static size_t padded(size_t rank) { return (rank + 15) / 16 * 16; }

  // c.y = offset + (in B^T + along_offset) B; offsets may be null.
  void project(Chunk& c, const Matrix<T>& in, const T* along_offset, const T* offset) {
    const size_t rows = in.rows(), dim = basis_.cols(), rank = basis_.rows();
    using thin_product_kernel::multiply;
    multiply(in.data(), directions_.data(), along_offset, rows, dim, rank, c.along.data());
    multiply(c.along.data(), basis_.data(), offset, rows, rank, dim, c.y.data());
  }

  void there_and_back(Chunk& c, T scale) {
    project(c, c.z, mean_along_.data(), mean_.data());
    c.squares = warp_.inverse_error(c.y, c.x, 2 * scale, c.back, c.sums);
    project(c, c.y, nullptr, nullptr);
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
  Matrix<T> basis_, directions_;      // the one is the other, transposed
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
