#include "host/derivatives.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "linalg/linalg.h"

namespace kvsplice::host {

void norm_back(std::span<const float> x, size_t width, float epsilon, bool centred,
               std::span<const float> dy, std::span<float> dx) {
  const auto n = static_cast<double>(width);
  for (size_t at = 0; at < x.size(); at += width) {
    const float *row = &x[at], *in = &dy[at];
    float* out = &dx[at];
    double mean = 0, square = 0, inner = 0, sum = 0;
    for (size_t i = 0; centred && i < width; ++i) mean += row[i] / n;
    for (size_t i = 0; i < width; ++i) {
      const double c = row[i] - mean;
      square += c * c;
      inner += c * in[i];
      sum += in[i];
    }
    const double factor = 1 / std::sqrt(square / n + double(epsilon));
    const double along = inner / n * factor * factor, shift = centred ? sum / n : 0;
    for (size_t i = 0; i < width; ++i) {
      out[i] = static_cast<float>(factor * (in[i] - shift - along * (row[i] - mean)));
    }
  }
}

Slope activate(Activation f, float value) {
  const double x = value;
  const auto slope = [](double y, double dy) { return Slope{float(y), float(dy)}; };
  const auto gated = [&](double steepness) {  // x sigmoid(steepness x)
    const double s = 1 / (1 + std::exp(-steepness * x));
    return slope(x * s, s + steepness * x * s * (1 - s));
  };
  switch (f) {
    case Activation::silu:
      return gated(1);
    case Activation::gelu_quick:
      return gated(1.702);
    case Activation::gelu: {
      const double a = std::sqrt(2 / std::numbers::pi), b = 0.044715;
      const double t = std::tanh(a * (x + b * x * x * x));
      return slope(x * (1 + t) / 2, (1 + t) / 2 + x * (1 - t * t) * a * (1 + 3 * b * x * x) / 2);
    }
    case Activation::gelu_erf: {
      const double share = (1 + std::erf(x / std::numbers::sqrt2)) / 2;
      const double density = std::exp(-x * x / 2) / std::sqrt(2 * std::numbers::pi);
      return slope(x * share, share + x * density);
    }
    case Activation::relu:
      return slope(std::max(x, 0.0), x > 0 ? 1 : 0);
    case Activation::tanh: {
      const double t = std::tanh(x);
      return slope(t, 1 - t * t);
    }
  }
  return {};
}

HeadGradient attention_back(const Head& head, MatrixView<const float> dy) {
  const size_t n = head.q.rows, m = head.k.rows;
  Matrix<float> weights(n, m), d_weights(n, m);
  gemm(Trans::no, Trans::yes, head.scale, head.q, head.k, 0.f, weights);
  gemm(Trans::no, Trans::yes, 1.f, dy, head.v, 0.f, d_weights);
  Matrix<float> d_scores(n, m);
  std::vector<float> bend(m, 1);  // slope of the soft cap
  for (size_t i = 0; i < n; ++i) {
    const std::span<float> w = weights.row(i), out = d_scores.row(i);
    for (size_t j = 0; head.cap > 0 && j < m; ++j) {
      const float t = std::tanh(w[j] / head.cap);
      w[j] = head.cap * t;
      bend[j] = 1 - t * t;
    }
    float top = -INFINITY;
    for (size_t j = 0; j < m; ++j) top = std::max(top, w[j] += head.mask(i, j));
    double sum = 0;
    for (float& x : w) sum += x = x - top > -80 ? std::exp(x - top) : 0;
    double mean = 0;
    const auto d = d_weights.row(i);
    for (size_t j = 0; j < m; ++j) {
      w[j] = static_cast<float>(w[j] / sum);
      mean += double(w[j]) * d[j];
    }
    for (size_t j = 0; j < m; ++j) {
      out[j] = head.scale * bend[j] * w[j] * (d[j] - static_cast<float>(mean));
    }
  }
  HeadGradient g{{n, head.q.cols}, {m, head.k.cols}, {m, head.v.cols}};
  gemm(Trans::no, Trans::no, 1.f, d_scores, head.k, 0.f, g.q);
  gemm(Trans::yes, Trans::no, 1.f, d_scores, head.q, 0.f, g.k);
  gemm(Trans::yes, Trans::no, 1.f, weights, dy, 0.f, g.v);
  return g;
}

}  // namespace kvsplice::host
