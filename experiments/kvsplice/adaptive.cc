#include "experiments/kvsplice/adaptive.h"

#include <algorithm>

#include "codec/warp/training_fit.h"
#include "functions/spline.h"
#include "train/bottleneck.h"
#include "train/quantile_knots.h"

namespace kvsplice::experiment {

namespace {

constexpr size_t kBlock = 256, kKnots = 7, kRefreshEpochs = 2, kBytesOfHalf = 2;

class Coder {
 public:
  Coder(const AdaptiveOptions& options, MatrixView<const float> rows)
      : options_(options), spline_(train::quantile_knots(rows, kKnots)) {}

  // Trains on from where it is.
  Result<> train(MatrixView<const float> rows, size_t epochs) {
    if (options_.warp) {
      train::WarpFitOptions fit;
      fit.epochs = epochs;
      fit.optimiser.rate = 2e-3;
      KVS_TRY(train::fit_through_pca(spline_, rows, options_.rank, fit));
    }
    Matrix<float> z = copy(rows);
    if (options_.warp) spline_.forward(rows, z);
    KVS_ASSIGN(pca_, train::fit_pca(z, options_.rank));
    return {};
  }

  void code(MatrixView<float> rows) const {
    if (options_.warp) spline_.forward(rows, rows);
    train::project(pca_, options_.rank, rows);
    if (options_.warp) spline_.inverse(rows, rows);
  }

  size_t refresh_bytes() const {
    const size_t numbers = pca_.mean.size() + pca_.basis.size();
    return kBytesOfHalf * (numbers + (options_.warp ? spline_.parameters().size() : 0));
  }

 private:
  AdaptiveOptions options_;
  functions::Spline<float> spline_;
  train::Pca pca_;
};

// The training rows with the first `n` of the stream behind them.
Matrix<float> seen(const Matrix<float>& train, const Matrix<float>& stream, size_t n) {
  Matrix<float> all(train.rows() + n, train.cols());
  std::copy_n(train.data(), train.size(), all.data());
  std::copy_n(stream.data(), n * stream.cols(), all.data() + train.size());
  return all;
}

}  // namespace

Result<CodedRows> code_stream(MatrixView<const float> train, MatrixView<const float> stream,
                              const AdaptiveOptions& options) {
  const float scale = codec::unit_scale(train);
  const Matrix<float> x = codec::divided(train, scale), arriving = codec::divided(stream, scale);
  Coder coder(options, x);
  KVS_TRY(coder.train(x, options.epochs));
  CodedRows coded{arriving, double(kBytesOfHalf * options.rank)};
  size_t sent = 0;
  for (size_t first = 0; first < arriving.rows(); first += kBlock) {
    if (options.online && first > 0) {
      KVS_TRY(coder.train(seen(x, arriving, first), std::min(kRefreshEpochs, options.epochs)));
      sent += coder.refresh_bytes();
    }
    const size_t n = std::min(kBlock, arriving.rows() - first);
    coder.code(coded.rows.view().row_range(first, n));
  }
  for (float& value : coded.rows.flat()) value *= scale;
  coded.bytes += double(sent) / double(arriving.rows());
  return coded;
}

}  // namespace kvsplice::experiment
