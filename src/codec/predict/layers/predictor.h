// A linear prediction whose numbers are rounded as they are stored, so that encoder and decoder
// subtract and add the same:
//
//   prediction = bias + up * z,  z_i = scale_i * sum_j code_ij * input_scale_j * input_j
//
// with small integer codes; without a rank limit there is no `up` and z is per target. The grid of
// the codes is as coarse as `noise` allows, so that they take few bits in the codec file. A decoder
// rounds the inputs of a token to bytes, so that the sum is one of integers.
#pragma once

#include "codec/side_by_side.h"
#include "codec/stage.h"
#include "linalg/byte_product.h"

namespace kvsplice::codec::layers {

inline constexpr float kLargestWeight = 127;  // of a code

struct Moments;
struct SolveOptions;

class Predictor {
 public:
  size_t inputs() const { return input_scale_.size(); }
  size_t targets() const { return bias_.size(); }

  // out [n x targets]; the sources stand side by side, n rows each.
  void predict(const SideBySide& sources, MatrixView<float> out) const;

  State save() const;
  // Checks shapes and values; `targets` is the unit's width.
  enum class Inputs { bytes, floats };
  static Result<Predictor> load(const State& state, size_t targets, Inputs inputs = Inputs::bytes);

 private:
  // See predictor_fit.h.
  friend Result<Predictor> solve(const Moments&, bool, const SolveOptions&);
  friend double held_out_bits(const Moments&, const Predictor*);
  Matrix<float> weights_of(Matrix<float> codes) const;  // [rank or targets x inputs]
  void directions(const SideBySide& sources, MatrixView<float> z) const;

  std::vector<float> bias_, input_scale_, scale_;
  StateArray packed_;  // the codes as they are saved: kept, as another machine may pack otherwise
  Matrix<float> up_;   // [targets x rank], exact in f16; empty without a rank limit
  ByteMatrix codes_;   // of a decoder; or, while it is fitted and of older versions,
  Matrix<float> weights_;  // the codes with both scales
};

}  // namespace kvsplice::codec::layers
