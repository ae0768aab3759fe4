#include "host/derivatives.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <numbers>
#include <numeric>

#include "linalg/linalg.h"

namespace kvsplice::host {

std::vector<float> sum_repeats(std::span<const float> dy, const Sizes& whole, const Sizes& part) {
  std::vector<float> dx(part[0] * part[1] * part[2] * part[3]);
  for_repeats(whole, part, [&](size_t i, size_t j) { dx[j] += dy[i]; });
  return dx;
}

std::vector<float> cut(std::span<const float> dy, const Sizes& whole, size_t dimension,
                       size_t first, size_t n) {
  size_t inner = 1;
  for (size_t i = 0; i < dimension; ++i) inner *= whole[i];
  const size_t stride = inner * whole[dimension];
  std::vector<float> part;
  for (size_t at = first * inner; at < dy.size(); at += stride) {
    const auto piece = dy.subspan(at, n * inner);
    part.insert(part.end(), piece.begin(), piece.end());
  }
  return part;
}

Quotient quotient_back(std::span<const float> a, const Sizes& whole, std::span<const float> b,
                       const Sizes& part, std::span<const float> dy) {
  Quotient d{std::vector<float>(a.size()), std::vector<float>(b.size())};
  for_repeats(whole, part, [&](size_t i, size_t j) {
    d.a[i] = dy[i] / b[j];
    d.b[j] -= d.a[i] * a[i] / b[j];
  });
  return d;
}

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

void length_back(std::span<const float> x, size_t width, float epsilon, std::span<const float> dy,
                 std::span<float> dx) {
  for (size_t at = 0; at < x.size(); at += width) {
    double square = 0, inner = 0;
    for (size_t i = at; i < at + width; ++i) {
      square += double(x[i]) * x[i];
      inner += double(x[i]) * dy[i];
    }
    const double length = std::max(std::sqrt(square), double(epsilon));
    const double along = length > double(epsilon) ? inner / square : 0;
    for (size_t i = at; i < at + width; ++i) {
      dx[i] = static_cast<float>((dy[i] - along * x[i]) / length);
    }
  }
}

void softmax_back(std::span<const float> x, size_t width, float scale, std::span<const float> dy,
                  std::span<float> dx) {
  for (size_t at = 0; at < x.size(); at += width) {
    const std::span row = x.subspan(at, width), in = dy.subspan(at, width);
    const std::span out = dx.subspan(at, width);
    const double top = *std::max_element(row.begin(), row.end());
    std::vector<double> y(width);
    for (size_t i = 0; i < width; ++i) y[i] = std::exp(scale * (row[i] - top));
    const double sum = std::accumulate(y.begin(), y.end(), 0.0);
    double mean = 0;
    for (size_t i = 0; i < width; ++i) mean += (y[i] /= sum) * in[i];
    for (size_t i = 0; i < width; ++i) out[i] = static_cast<float>(scale * y[i] * (in[i] - mean));
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
    case Activation::sigmoid: {
      const double s = 1 / (1 + std::exp(-x));
      return slope(s, s * (1 - s));
    }
    case Activation::softplus:
      return slope(std::max(x, 0.0) + std::log1p(std::exp(-std::abs(x))), 1 / (1 + std::exp(-x)));
    case Activation::square:
      return slope(x * x, 2 * x);
    case Activation::root:
      return slope(std::sqrt(x), 0.5 / std::sqrt(x));
    case Activation::exp:
      return slope(std::exp(x), std::exp(x));
  }
  return {};
}

float xielu_slope(float negative, float positive, float linear, float most, float x) {
  if (x > 0) return 2 * positive * x + linear;
  return negative * ((x < most ? std::exp(x) : 0) - 1) + linear;
}

GateSlope gate_slope(Activation f, float gate, float up) {
  const Slope s = activate(f, gate);
  return {s.dy * up, s.y};
}

GateSlope limited_gate_slope(float steepness, float limit, float shift, float gate, float up) {
  const double x = std::min(gate, limit), u = std::clamp(up, -limit, limit);
  const double s = 1 / (1 + std::exp(-steepness * x));
  const double dx = (u + shift) * (s + steepness * x * s * (1 - s));
  return {gate < limit ? float(dx) : 0, std::abs(up) < limit ? float(x * s) : 0};
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
    float top = head.sink;
    for (size_t j = 0; j < m; ++j) top = std::max(top, w[j] += head.slope * head.mask(i, j));
    double sum = std::isinf(head.sink) ? 0 : std::exp(head.sink - top);
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

float distance_slope(float most, size_t heads, size_t h) {
  if (most <= 0) return 1;
  const size_t n = std::bit_floor(heads);
  const double step = double(most) / double(n);
  const double power = h < n ? double(h + 1) : double(h - n) + 0.5;
  return static_cast<float>(std::exp2(-step * power));
}

}  // namespace kvsplice::host
