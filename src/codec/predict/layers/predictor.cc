#include "codec/predict/layers/predictor.h"

#include <fmt/format.h>

#include <algorithm>

#include "codec/checks.h"
#include "codec/packed_integers.h"
#include "codec/predict/layers/transposed.h"
#include "linalg/linalg.h"

namespace kvsplice::codec::layers {

void Predictor::set_codes(Matrix<float> codes) {
  weights_ = std::move(codes);
  for (size_t r = 0; r < weights_.rows(); ++r) {
    for (size_t j = 0; j < inputs(); ++j) weights_(r, j) *= scale_[r] * input_scale_[j];
  }
}

void Predictor::predict(const SideBySide& sources, MatrixView<float> out) const {
  Matrix<float> narrow(up_.empty() ? 0 : out.rows, weights_.rows());
  const MatrixView<float> z = up_.empty() ? out : narrow.view();
  multiply(sources, weights_, z);
  if (!up_.empty()) gemm(Trans::no, Trans::yes, 1.f, z, up_, 0.f, out);
  for (size_t r = 0; r < out.rows; ++r) {
    for (size_t c = 0; c < out.cols; ++c) out(r, c) += bias_[c];
  }
}

State Predictor::save() const {
  State state;
  state["bias"] = {{targets()}, bias_};
  state["input_scale"] = {{inputs()}, input_scale_, Storage::f16};
  state["scale"] = {{scale_.size()}, scale_};
  state["codes"] = packed_;
  if (up_.empty()) return state;
  state["up"] = {{up_.rows(), up_.cols()}, {up_.flat().begin(), up_.flat().end()}, Storage::f16};
  return state;
}

Result<Predictor> Predictor::load(const State& state, size_t targets) {
  Predictor made;
  KVS_ASSIGN(const StateArray* bias, find_array(state, "bias", {targets}));
  KVS_ASSIGN(const StateArray* input_scale, find_array(state, "input_scale", {kAny}));
  KVS_ASSIGN(const StateArray* scale, find_array(state, "scale", {kAny}));
  made.bias_ = bias->values;
  made.input_scale_ = input_scale->values;
  made.scale_ = scale->values;
  const size_t rows = made.scale_.size(), cols = made.input_scale_.size();
  if (rows == 0 || rows > targets) {
    return Error{ErrorKind::format,
                 fmt::format("a prediction of rank {} for {} columns", rows, targets)};
  }
  KVS_ASSIGN(const Matrix<int32_t> codes, unpack_integers(state, "codes", rows * cols, rows));
  made.packed_ = state.at("codes");
  made.set_codes(transposed<int32_t, float>(codes));
  if (rows != targets || state.count("up") > 0) {
    KVS_ASSIGN(const StateArray* up, find_array(state, "up", {targets, rows}));
    made.up_ = Matrix<float>(targets, rows);
    std::copy(up->values.begin(), up->values.end(), made.up_.data());
  }
  return made;
}

}  // namespace kvsplice::codec::layers
