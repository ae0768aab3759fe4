// Derivatives of the operations of a transformer: given the gradient dy of a result, those of its
// inputs. Plain numbers, checked against differences in derivatives_test.cc.
#pragma once

#include <array>
#include <cmath>
#include <span>
#include <vector>

#include "core/matrix.h"

namespace kvsplice::host {

// Of an array in four dimensions, the innermost first.
using Sizes = std::array<size_t, 4>;

// Calls body(i, j) for every element i of an array of sizes `whole`, in order: j is the element of
// one of sizes `part` that stands there if that is repeated over the whole.
template <class Body>
void for_repeats(const Sizes& whole, const Sizes& part, const Body& body) {
  size_t i = 0;
  for (size_t i3 = 0; i3 < whole[3]; ++i3) {
    for (size_t i2 = 0; i2 < whole[2]; ++i2) {
      for (size_t i1 = 0; i1 < whole[1]; ++i1) {
        const size_t plane = i3 % part[3] * part[2] + i2 % part[2];
        const size_t row = (plane * part[1] + i1 % part[1]) * part[0];
        for (size_t i0 = 0; i0 < whole[0]; ++i0) body(i++, row + i0 % part[0]);
      }
    }
  }
}

// y = x repeated: the sum over the copies.
std::vector<float> sum_repeats(std::span<const float> dy, const Sizes& whole, const Sizes& part);

// y = several x one behind the other along a dimension: the part of dy that begins at `first`.
std::vector<float> cut(std::span<const float> dy, const Sizes& whole, size_t dimension,
                       size_t first, size_t n);

// y = a / b, b repeated.
struct Quotient {
  std::vector<float> a, b;
};
Quotient quotient_back(std::span<const float> a, const Sizes& whole, std::span<const float> b,
                       const Sizes& part, std::span<const float> dy);

// y = x / sqrt(mean(x^2) + epsilon) of each row of `width` values; with `centred` the mean is
// taken off first (LayerNorm). dx and dy may be the same.
void norm_back(std::span<const float> x, size_t width, float epsilon, bool centred,
               std::span<const float> dy, std::span<float> dx);

// y = x / |x| of each row of `width` values, or x / epsilon of shorter ones.
void length_back(std::span<const float> x, size_t width, float epsilon, std::span<const float> dy,
                 std::span<float> dx);

// y = softmax(scale x) of each row.
void softmax_back(std::span<const float> x, size_t width, float scale, std::span<const float> dy,
                  std::span<float> dx);

enum class Activation {
  silu,
  gelu,
  gelu_erf,
  gelu_quick,
  relu,
  tanh,
  sigmoid,
  softplus,
  square,
  root,
  exp
};
struct Slope {
  float y, dy;
};
Slope activate(Activation f, float x);  // its value and its derivative

// The derivative of positive x^2 + linear x, or of negative (e^x - 1 - x) + linear x where x is not
// positive; the exponent is at most `most`.
float xielu_slope(float negative, float positive, float linear, float most, float x);

// Of y = f(gate) up.
struct GateSlope {
  float gate, up;
};
GateSlope gate_slope(Activation f, float gate, float up);
// Of y = x sigmoid(steepness x) (shift + u), x: the gate, at most `limit`; u: up, within it.
GateSlope limited_gate_slope(float steepness, float limit, float shift, float gate, float up);

// y = softmax(scale q k^T + slope mask) v of one head; with a soft cap c, c tanh(scores / c) takes
// the place of the scores. A sink is the score of one more key, whose value is zero.
// q: [n x d], k: [m x d], v: [m x e], mask: [n x m], dy: [n x e].
struct Head {
  MatrixView<const float> q, k, v, mask;
  float scale = 1, cap = 0, slope = 1, sink = -INFINITY;
};
struct HeadGradient {
  Matrix<float> q, k, v;
};
HeadGradient attention_back(const Head& head, MatrixView<const float> dy);

// What head h multiplies the mask by where attention is biased by distance (ALiBi): a power of
// 2^(-most / n), n the largest power of two that is no more than `heads`, and behind that odd
// powers of its root. 1 without a bias.
float distance_slope(float most, size_t heads, size_t h);

}  // namespace kvsplice::host
