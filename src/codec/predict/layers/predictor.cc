#include "codec/predict/layers/predictor.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdlib>

#include "codec/checks.h"
#include "codec/packed_integers.h"
#include "linalg/linalg.h"
#include "linalg/transposed.h"

namespace kvsplice::codec::layers {

namespace {

Result<> check_codes(const Matrix<int32_t>& codes) {
  for (int32_t code : codes.flat()) {
    if (std::abs(code) <= kLargestWeight) continue;
    return Error{ErrorKind::format, fmt::format("a weight of {}; legal: -{} ... {}", code,
                                                kLargestWeight, kLargestWeight)};
  }
  return {};
}

}  // namespace

Matrix<float> Predictor::weights_of(Matrix<float> codes) const {
  for (size_t r = 0; r < codes.rows(); ++r) {
    for (size_t j = 0; j < inputs(); ++j) codes(r, j) *= scale_[r] * input_scale_[j];
  }
  return codes;
}

void Predictor::directions(const SideBySide& sources, MatrixView<float> z) const {
  if (codes_.rows() == 0) return codec::multiply(sources, weights_, z);
  codes_.multiply(ByteRows(sources, input_scale_), z);
}

void Predictor::predict(const SideBySide& sources, MatrixView<float> out) const {
  if (up_.empty()) {
    directions(sources, out);
  } else {
    Matrix<float> z(out.rows, up_.cols());
    directions(sources, z);
    gemm(Trans::no, Trans::yes, 1.f, z, up_, 0.f, out);
  }
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

Result<Predictor> Predictor::load(const State& state, size_t targets, Inputs inputs) {
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
  if (cols == 0 || cols > ByteMatrix::kMostCols) {
    return Error{ErrorKind::format, fmt::format("a prediction from {} values; legal: 1 ... {}",
                                                cols, ByteMatrix::kMostCols)};
  }
  KVS_ASSIGN(const Matrix<int32_t> packed, unpack_integers(state, "codes", rows * cols, rows));
  KVS_TRY(check_codes(packed));
  made.packed_ = state.at("codes");
  Matrix<float> codes = transposed<int32_t, float>(packed);
  if (inputs == Inputs::bytes) {
    made.codes_ = ByteMatrix(codes, made.scale_);
  } else {
    made.weights_ = made.weights_of(std::move(codes));
  }
  if (rows != targets || state.count("up") > 0) {
    KVS_ASSIGN(const StateArray* up, find_array(state, "up", {targets, rows}));
    made.up_ = Matrix<float>(targets, rows);
    std::copy(up->values.begin(), up->values.end(), made.up_.data());
  }
  return made;
}

}  // namespace kvsplice::codec::layers
