#include "codec/predict/layers/predictor.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "codec/checks.h"
#include "codec/predict/layers/rounding.h"
#include "core/half.h"
#include "linalg/linalg.h"

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

double noise_of(const Matrix<double>& variance) {
  double trace = 0;
  for (size_t i = 0; i < variance.rows(); ++i) trace += variance(i, i);
  const double noise = kNoise * trace / double(std::max<size_t>(variance.rows(), 1));
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

bool is_integer(float v, float largest) { return v == std::round(v) && std::abs(v) <= largest; }

// Two codes of at most four bits in a signed byte.
std::vector<float> pack_pairs(std::span<const float> codes) {
  std::vector<float> bytes((codes.size() + 1) / 2);
  for (size_t i = 0; i < codes.size(); ++i) {
    const float nibble = codes[i] + 8;
    bytes[i / 2] += i % 2 == 0 ? nibble - 128 : 16 * nibble;
  }
  return bytes;
}

float unpack_pair(std::span<const float> bytes, size_t i) {
  const int byte = static_cast<int>(bytes[i / 2]) + 128;
  return static_cast<float>((i % 2 == 0 ? byte % 16 : byte / 16) - 8);
}

}  // namespace

void Predictor::make_weights() {
  weights_ = codes_;
  for (size_t r = 0; r < weights_.rows(); ++r) {
    for (size_t j = 0; j < inputs(); ++j) weights_(r, j) *= scale_[r] * input_scale_[j];
  }
}

void Predictor::predict(const std::vector<MatrixView<const float>>& sources,
                        MatrixView<float> out) const {
  Matrix<float> narrow(up_.empty() ? 0 : out.rows, weights_.rows());
  const MatrixView<float> z = up_.empty() ? out : narrow.view();
  size_t at = 0;
  for (const auto& source : sources) {
    gemm(Trans::no, Trans::yes, 1.f, source, weights_.view().col_range(at, source.cols),
         at == 0 ? 0.f : 1.f, z);
    at += source.cols;
  }
  if (!up_.empty()) gemm(Trans::no, Trans::yes, 1.f, z, up_, 0.f, out);
  for (size_t r = 0; r < out.rows; ++r) {
    for (size_t c = 0; c < out.cols; ++c) out(r, c) += bias_[c];
  }
}

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
  const Matrix<double> solved = solve_with_factor(factor, cross);  // [inputs x targets]
  Matrix<double> weights(solved.cols(), solved.rows());
  for (size_t r = 0; r < weights.rows(); ++r) {
    for (size_t c = 0; c < weights.cols(); ++c) weights(r, c) = solved(c, r);
  }
  const size_t targets = total.rows();
  const size_t rank = options.rank ? std::min<size_t>(*options.rank, targets) : targets;
  if (rank < targets) {
    const Matrix<double> explained = product(Trans::no, weights, Trans::no, cross);
    KVS_ASSIGN(weights, best_directions(weights, explained, total, rank));
  }
  Rounded rounded = round_weights(weights, factor, options.bits);
  made.scale_ = std::move(rounded.scale);
  made.codes_ = std::move(rounded.codes);

  Matrix<double> z_weights(rank, inputs.rows());
  for (size_t r = 0; r < rank; ++r) {
    for (size_t j = 0; j < inputs.rows(); ++j) z_weights(r, j) = made.scale_[r] * made.codes_(r, j);
  }
  if (rank < targets) {  // refit what follows to the rounded directions
    const Matrix<double> zy = product(Trans::no, z_weights, Trans::no, cross);
    Matrix<double> zz =
        product(Trans::no, product(Trans::no, z_weights, Trans::no, inputs), Trans::yes, z_weights);
    for (size_t i = 0; i < rank; ++i) zz(i, i) = zz(i, i) * (1 + 1e-9) + 1e-30;
    KVS_ASSIGN(const Matrix<double> up, solve_spd(std::move(zz), zy));  // [rank x targets]
    made.up_ = Matrix<float>(targets, rank);
    for (size_t t = 0; t < targets; ++t) {
      for (size_t r = 0; r < rank; ++r) made.up_(t, r) = rounded_to_half(up(r, t));
    }
  }
  made.make_weights();
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

State Predictor::save(int bits) const {
  State state;
  state["bias"] = {{targets()}, bias_};
  state["input_scale"] = {{inputs()}, input_scale_, Storage::f16};
  state["scale"] = {{scale_.size()}, scale_};
  std::vector<float> codes(codes_.flat().begin(), codes_.flat().end());
  if (bits <= 4) {
    codes = pack_pairs(codes);
    state["pairs"] = {{codes.size()}, codes, Storage::i8};
  } else {
    state["codes"] = {{codes_.rows(), codes_.cols()}, std::move(codes), Storage::i8};
  }
  if (up_.empty()) return state;
  state["up"] = {{up_.rows(), up_.cols()}, {up_.flat().begin(), up_.flat().end()}, Storage::f16};
  return state;
}

Result<Predictor> Predictor::load(const State& state, size_t targets, int bits) {
  Predictor made;
  KVS_ASSIGN(const StateArray* bias, find_array(state, "bias", {targets}));
  KVS_ASSIGN(const StateArray* input_scale, find_array(state, "input_scale", {kAny}));
  KVS_ASSIGN(const StateArray* scale, find_array(state, "scale", {kAny}));
  made.bias_ = bias->values;
  made.input_scale_ = input_scale->values;
  made.scale_ = scale->values;
  const size_t rows = made.scale_.size(), cols = made.input_scale_.size();
  made.codes_ = Matrix<float>(rows, cols);
  if (bits <= 4) {
    KVS_ASSIGN(const StateArray* pairs, find_array(state, "pairs", {(rows * cols + 1) / 2}));
    for (float v : pairs->values) {
      if (!is_integer(v, 128)) return Error{ErrorKind::format, fmt::format("pair {}", v)};
    }
    for (size_t i = 0; i < rows * cols; ++i) {
      made.codes_.flat()[i] = unpack_pair(pairs->values, i);
    }
  } else {
    KVS_ASSIGN(const StateArray* codes, find_array(state, "codes", {rows, cols}));
    for (float v : codes->values) {
      if (!is_integer(v, 127)) return Error{ErrorKind::format, fmt::format("code {}", v)};
    }
    std::copy(codes->values.begin(), codes->values.end(), made.codes_.data());
  }
  if (rows != targets || state.count("up") > 0) {
    KVS_ASSIGN(const StateArray* up, find_array(state, "up", {targets, rows}));
    made.up_ = Matrix<float>(targets, rows);
    std::copy(up->values.begin(), up->values.end(), made.up_.data());
  }
  made.make_weights();
  return made;
}

}  // namespace kvsplice::codec::layers
