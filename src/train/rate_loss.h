// Trains a spline for rate instead of rank: the bits that the PCA coordinates of the warped rows
// take at a fixed error of the rows themselves.
//
// Let P be the mean of (dx/dz)^2 over rows and columns: an error of variance e in the warped space
// comes back as P e. At an allowed error d^2 the quantiser may add d^2 / P, and coordinate i of
// variance v_i, taken as Gaussian, needs 1/2 log2(1 + v_i P / d^2) bits. The loss is their mean
// over columns, so that a warp that only stretches gains nothing.
#pragma once

#include "functions/spline.h"
#include "solve/solve.h"
#include "train/warp_fit.h"

namespace kvsplice::train {

template <class T>
class RateLoss {
 public:
  RateLoss(const functions::Spline<T>& spline, double allowed_error, size_t batch)
      : spline_(spline),
        allowed_(allowed_error * allowed_error),
        basis_(spline.dim(), spline.dim()),
        chunks_(chunks_of_batch<Chunk>(batch, spline)) {}

  // Only the basis counts: variances are taken about the mean of the batch.
  template <class U>
  void set_pca(std::span<const U>, const Matrix<U>& basis) {
    std::copy(basis.flat().begin(), basis.flat().end(), basis_.flat().begin());
  }

  double evaluate(MatrixView<const T> rows, std::span<const uint32_t> picked,
                  std::span<T> gradient) {
    parallel_for(chunks_.size(), [&](size_t i) {
      chunks_[i].start(spline_, rows, picked.subspan(i * kWarpChunk, chunks_[i].x.rows()));
      measure(chunks_[i]);
    });
    const double loss = weigh(picked.size());
    parallel_for(chunks_.size(), [&](size_t i) { backward(chunks_[i]); });
    gather_gradient(spline_, chunks_, gradient);
    return loss;
  }

 private:
  struct Chunk : WarpChunk<functions::Spline<T>> {
    Chunk(size_t n, const functions::Spline<T>& spline)
        : WarpChunk<functions::Spline<T>>(spline, n), along(n, spline.dim()), dz(n, spline.dim()) {}

    Matrix<T> along, dz;                // coordinates and the gradient of z
    std::vector<double> total, square;  // of every coordinate
    Matrix<T> counts;                   // of rows above each knot
    double steepness = 0;               // sum of (dx/dz)^2
  };

  void measure(Chunk& c) {
    gemm(Trans::no, Trans::yes, T(1), c.z, basis_, T(0), c.along);
    c.total.assign(c.z.cols(), 0);
    c.square.assign(c.z.cols(), 0);
    for (size_t r = 0; r < c.along.rows(); ++r) {
      for (size_t k = 0; k < c.along.cols(); ++k) {
        const double value = c.along(r, k);
        c.total[k] += value;
        c.square[k] += value * value;
      }
    }
    c.counts = spline_.counts_above_knots(c.forward);
    c.steepness = spline_.back_slope_squares(c.counts);
  }

  // Loss and its derivatives: by v_i (times 2 / rows) in weight_, by P in by_steepness_.
  double weigh(size_t rows) {
    const double n = double(rows), columns = double(basis_.rows());
    double steepness = 0, loss = 0;
    for (const Chunk& c : chunks_) steepness += c.steepness / (n * columns);
    weight_.assign(basis_.rows(), 0);
    mean_.assign(basis_.rows(), 0);
    by_steepness_ = 0;
    for (size_t k = 0; k < basis_.rows(); ++k) {
      double total = 0, square = 0;
      for (const Chunk& c : chunks_) total += c.total[k], square += c.square[k];
      const double mean = total / n, variance = std::max(0.0, square / n - mean * mean);
      const double levels = 1 + variance * steepness / allowed_;
      loss += 0.5 * std::log2(levels) / columns;
      const double slope = 0.5 / (std::log(2.0) * levels * allowed_ * columns);
      weight_[k] = T(2 / n * slope * steepness);
      mean_[k] = T(mean);
      by_steepness_ += slope * variance / (n * columns);
    }
    return loss;
  }

  void backward(Chunk& c) {
    for (size_t r = 0; r < c.along.rows(); ++r) {
      for (size_t k = 0; k < c.along.cols(); ++k) {
        c.along(r, k) = weight_[k] * (c.along(r, k) - mean_[k]);
      }
    }
    gemm(Trans::no, Trans::no, T(1), c.along, basis_, T(0), c.dz);
    spline_.forward_backward(c.forward, c.dz, c.sums);
    spline_.back_slope_squares_backward(c.counts, T(by_steepness_), c.sums);
  }

  const functions::Spline<T>& spline_;
  double allowed_;
  Matrix<T> basis_;  // [dim x dim]
  std::vector<Chunk> chunks_;
  std::vector<T> weight_, mean_;  // by coordinate
  double by_steepness_ = 0;
};

// allowed_error: rms error of a value that the code may make, in the units of rows.
inline Result<double> fit_for_rate(functions::Spline<float>& spline, MatrixView<const float> rows,
                                   double allowed_error, const WarpFitOptions& options,
                                   const Progress& progress = {}) {
  RateLoss<float> loss(spline, allowed_error, batch_of(options, rows.rows));
  return fit_warp(spline, loss, rows.cols, rows, options, progress);
}

}  // namespace kvsplice::train
