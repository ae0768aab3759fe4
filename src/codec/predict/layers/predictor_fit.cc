#include "codec/predict/layers/predictor_fit.h"

#include <algorithm>
#include <cmath>

#include "codec/packed_integers.h"
#include "codec/predict/layers/rounding_fit.h"
#include "core/half.h"
#include "linalg/transposed.h"
#include "solve/solve.h"

namespace kvsplice::codec::layers {

namespace {

// What coding leaves of a unit's variance at a moderate rate: directions weaker than this are lost
// anyhow, so that predicting them earns little.
constexpr double kNoise = 0.03;

Matrix<double> combined(const Products& p, bool all) {
  Matrix<double> sum = p.of[kLearn];
  for (size_t i = 0; all && i < sum.size(); ++i) sum.flat()[i] += p.of[kHeld].flat()[i];
  return sum;
}

Matrix<double> product(Trans ta, const Matrix<double>& a, Trans tb, const Matrix<double>& b) {
  const size_t rows = ta == Trans::no ? a.rows() : a.cols();
  const size_t cols = tb == Trans::no ? b.cols() : b.rows();
  Matrix<double> c(rows, cols);
  gemm(ta, tb, 1.0, a, b, 0.0, c);
  return c;
}

double trace(const Matrix<double>& a) {
  double sum = 0;
  for (size_t i = 0; i < a.rows(); ++i) sum += a(i, i);
  return sum;
}

double noise_of(const Matrix<double>& variance) {
  const double noise = kNoise * trace(variance) / double(std::max<size_t>(variance.rows(), 1));
  return noise > 0 ? noise : 1;
}

float rounded_to_half(double value) { return from_half(to_half(static_cast<float>(value))); }

// One over the rms of every input, as stored; 0 for inputs that never vary.
std::vector<float> input_scales(const Matrix<double>& inputs, double rows) {
  std::vector<float> scales(inputs.rows());
  for (size_t j = 0; j < scales.size(); ++j) {
    const double rms = std::sqrt(inputs(j, j) / rows);
    scales[j] = rms > 2e-5 ? rounded_to_half(std::min(1 / rms, 6e4)) : 0;
  }
  return scales;
}

// V f(values) V^T of a symmetric matrix.
template <class F>
Matrix<double> function_of(const Eigen& eigen, const F& f) {
  Matrix<double> scaled = eigen.vectors;
  for (size_t i = 0; i < scaled.rows(); ++i) {
    for (double& v : scaled.row(i)) v *= f(eigen.values[i]);
  }
  return product(Trans::yes, eigen.vectors, Trans::no, scaled);
}

// The `rank` directions of a prediction that save most bits: [rank x inputs]. weights: [targets x
// inputs], explained: covariance of what they predict, total: covariance of the targets.
Result<Matrix<double>> best_directions(const Matrix<double>& weights,
                                       const Matrix<double>& explained, const Matrix<double>& total,
                                       size_t rank) {
  Matrix<double> left = total;
  for (size_t i = 0; i < left.size(); ++i) left.flat()[i] -= explained.flat()[i];
  for (size_t i = 0; i < left.rows(); ++i) left(i, i) += noise_of(total);
  KVS_ASSIGN(const Eigen residual, symmetric_eigen(std::move(left)));
  const double least = noise_of(total) / 2;
  const Matrix<double> whiten =
      function_of(residual, [&](double v) { return 1 / std::sqrt(std::max(v, least)); });
  KVS_ASSIGN(const Eigen gains,
             symmetric_eigen(product(Trans::no, product(Trans::no, whiten, Trans::no, explained),
                                     Trans::no, whiten)));
  Matrix<double> top(rank, whiten.cols());
  for (size_t i = 0; i < rank; ++i) {
    std::copy(gains.vectors.row(i).begin(), gains.vectors.row(i).end(), top.row(i).begin());
  }
  return product(Trans::no, product(Trans::no, top, Trans::no, whiten), Trans::no, weights);
}

// What the targets are made of, [targets x rank], by least squares from the rounded directions.
Result<Matrix<double>> best_expansion(const Matrix<double>& directions,
                                      const Matrix<double>& inputs, const Matrix<double>& cross) {
  const Matrix<double> zy = product(Trans::no, directions, Trans::no, cross);
  Matrix<double> zz =
      product(Trans::no, product(Trans::no, directions, Trans::no, inputs), Trans::yes, directions);
  for (size_t i = 0; i < zz.rows(); ++i) zz(i, i) = zz(i, i) * (1 + 1e-9) + 1e-30;
  KVS_ASSIGN(const Matrix<double> up, solve_spd(std::move(zz), zy));  // [rank x targets]
  return transposed(up);
}

// The coarsest grids of the rows of `weights` that change what is predicted by `noise` of mean
// square, the rows of a prediction of lower rank each by the same share; and no finer than codes
// can express. `factor`: of the inputs' second moments.
std::vector<float> grids(const Matrix<double>& weights, const Matrix<double>& factor, double noise,
                         const Matrix<double>* up) {
  constexpr double kRoom = 0.95;  // for corrections of weights that stand at the limit
  double spread = 0;
  for (size_t k = 0; k < factor.rows(); ++k) spread += factor(k, k) * factor(k, k);
  std::vector<float> steps(weights.rows());
  for (size_t r = 0; r < steps.size(); ++r) {
    double gain = 1;  // mean square over the targets of what a change of this row does
    if (up != nullptr) {
      gain = 0;
      for (size_t t = 0; t < up->rows(); ++t) gain += (*up)(t, r) * (*up)(t, r);
      gain *= double(steps.size()) / double(up->rows());
    }
    double peak = 0;
    for (double w : weights.row(r)) peak = std::max(peak, std::abs(w));
    const double wanted = gain > 0 ? std::sqrt(12 * noise / (spread * gain)) : 0;
    steps[r] = static_cast<float>(std::clamp(wanted, peak / (kRoom * kLargestWeight), 1e30));
  }
  return steps;
}

// Input by input: what one contributes anywhere says most about its other weights.
StateArray packed(const Matrix<float>& codes) {
  return pack_integers(transposed(codes).flat(), codes.rows());
}

}  // namespace

Result<Predictor> solve(const Moments& moments, bool all_rows, const SolveOptions& options) {
  const double rows = double(moments.rows[kLearn] + (all_rows ? moments.rows[kHeld] : 0));
  Matrix<double> inputs = combined(moments.inputs, all_rows);
  Matrix<double> cross = combined(moments.cross, all_rows);
  Matrix<double> total = combined(moments.targets, all_rows);
  Predictor made;
  made.input_scale_ = input_scales(inputs, rows);
  const auto& scale = made.input_scale_;
  for (size_t i = 0; i < inputs.rows(); ++i) {
    for (size_t j = 0; j < inputs.cols(); ++j) {
      inputs(i, j) *= double(scale[i]) * scale[j] / rows;
    }
    for (double& v : cross.row(i)) v *= scale[i] / rows;
    inputs(i, i) += options.ridge;
  }
  for (double& v : total.flat()) v /= rows;

  KVS_ASSIGN(const Matrix<double> factor, cholesky(inputs));
  Matrix<double> weights = transposed(solve_with_factor(factor, cross));  // [targets x inputs]
  const size_t targets = total.rows();
  const size_t rank = options.rank ? std::min<size_t>(*options.rank, targets) : targets;
  const double noise = options.noise * trace(total) / double(std::max<size_t>(targets, 1));
  if (rank < targets) {
    const Matrix<double> explained = product(Trans::no, weights, Trans::no, cross);
    KVS_ASSIGN(weights, best_directions(weights, explained, total, rank));
    KVS_ASSIGN(const Matrix<double> up, best_expansion(weights, inputs, cross));
    made.scale_ = grids(weights, factor, noise, &up);
  } else {
    made.scale_ = grids(weights, factor, noise, nullptr);
  }
  const Matrix<float> codes = round_weights(weights, factor, made.scale_);
  if (all_rows) made.packed_ = packed(codes);  // what learns from some rows is only tried
  made.weights_ = made.weights_of(codes);
  if (rank < targets) {  // refit what follows to the rounded directions
    for (size_t r = 0; r < rank; ++r) {
      for (size_t j = 0; j < inputs.rows(); ++j) weights(r, j) = made.scale_[r] * codes(r, j);
    }
    KVS_ASSIGN(const Matrix<double> up, best_expansion(weights, inputs, cross));
    made.up_ = Matrix<float>(targets, rank);
    for (size_t i = 0; i < up.size(); ++i) made.up_.flat()[i] = rounded_to_half(up.flat()[i]);
  }
  made.bias_.resize(targets);
  Matrix<float> mean(1, moments.input_mean.size()), at_mean(1, targets);
  std::copy(moments.input_mean.begin(), moments.input_mean.end(), mean.data());
  made.predict({mean}, at_mean);
  for (size_t t = 0; t < targets; ++t) {
    made.bias_[t] = static_cast<float>(moments.target_mean[t] - at_mean(0, t));
  }
  return made;
}

double held_out_bits(const Moments& m, const Predictor* predictor) {
  const Part part = m.rows[kHeld] > 0 ? kHeld : kLearn;
  Matrix<double> left = m.targets.of[part];
  if (predictor != nullptr) {
    Matrix<double> weights(predictor->targets(), predictor->inputs());
    Matrix<float> whole = predictor->weights_;
    if (!predictor->up_.empty()) {
      whole = Matrix<float>(weights.rows(), weights.cols());
      gemm(Trans::no, Trans::no, 1.f, predictor->up_, predictor->weights_, 0.f, whole);
    }
    std::copy(whole.flat().begin(), whole.flat().end(), weights.data());
    const Matrix<double> mixed = product(Trans::no, weights, Trans::no, m.cross.of[part]);
    const Matrix<double> made = product(
        Trans::no, product(Trans::no, weights, Trans::no, m.inputs.of[part]), Trans::yes, weights);
    for (size_t i = 0; i < left.rows(); ++i) {
      for (size_t j = 0; j < left.cols(); ++j) {
        left(i, j) += made(i, j) - mixed(i, j) - mixed(j, i);
      }
    }
  }
  const double noise = noise_of(m.targets.of[part]);
  const auto eigen = symmetric_eigen(std::move(left));
  if (!eigen.ok()) return INFINITY;
  double bits = 0;
  for (double v : eigen->values) bits += 0.5 * std::log2(1 + std::max(v, 0.0) / noise);
  return bits;
}

}  // namespace kvsplice::codec::layers
