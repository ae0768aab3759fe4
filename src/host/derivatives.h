// Derivatives of the operations of a transformer: given the gradient dy of a result, those of its
// inputs. Plain numbers, checked against differences in derivatives_test.cc.
#pragma once

#include <span>
#include <vector>

#include "core/matrix.h"

namespace kvsplice::host {

// y = x / sqrt(mean(x^2) + epsilon) of each row of `width` values; with `centred` the mean is
// taken off first (LayerNorm). dx and dy may be the same.
void norm_back(std::span<const float> x, size_t width, float epsilon, bool centred,
               std::span<const float> dy, std::span<float> dx);

enum class Activation { silu, gelu, gelu_erf, gelu_quick, relu, tanh };
struct Slope {
  float y, dy;
};
Slope activate(Activation f, float x);  // its value and its derivative

// y = softmax(scale q k^T + mask) v of one head; with a soft cap c, c tanh(scores / c) takes the
// place of the scores. q: [n x d], k: [m x d], v: [m x e], mask: [n x m], dy: [n x e].
struct Head {
  MatrixView<const float> q, k, v, mask;
  float scale = 1, cap = 0;
};
struct HeadGradient {
  Matrix<float> q, k, v;
};
HeadGradient attention_back(const Head& head, MatrixView<const float> dy);

}  // namespace kvsplice::host
