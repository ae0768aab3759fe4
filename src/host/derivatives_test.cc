// Derivatives against central differences of the operations, written out in double precision.
#include "host/derivatives.h"

#include <gtest/gtest.h>

#include <cmath>
#include <functional>

#include "core/random.h"

namespace kvsplice::host {
namespace {

using Doubles = std::vector<double>;

std::vector<float> draw(size_t n, uint64_t seed) {
  Random random(seed);
  std::vector<float> x(n);
  for (float& v : x) v = static_cast<float>(random.normal());
  return x;
}

// The gradient of sum(f(x) dy) by differences.
Doubles by_differences(const std::vector<float>& x, const std::vector<float>& dy,
                       const std::function<Doubles(const Doubles&)>& f) {
  Doubles at(x.begin(), x.end()), gradient(x.size());
  const auto value = [&] {
    const Doubles y = f(at);
    double sum = 0;
    for (size_t i = 0; i < y.size(); ++i) sum += y[i] * dy[i];
    return sum;
  };
  for (size_t i = 0; i < x.size(); ++i) {
    const double h = 1e-5, was = at[i];
    at[i] = was + h;
    const double up = value();
    at[i] = was - h;
    gradient[i] = (up - value()) / (2 * h);
    at[i] = was;
  }
  return gradient;
}

void expect_near(std::span<const float> got, const Doubles& wanted, double tolerance) {
  ASSERT_EQ(got.size(), wanted.size());
  for (size_t i = 0; i < got.size(); ++i) EXPECT_NEAR(got[i], wanted[i], tolerance) << i;
}

TEST(Derivatives, OfNorms) {
  constexpr size_t kWidth = 7;
  for (bool centred : {false, true}) {
    const auto x = draw(3 * kWidth, 1), dy = draw(3 * kWidth, 2);
    const auto norm = [&](const Doubles& at) {
      Doubles y(at.size());
      for (size_t r = 0; r < at.size(); r += kWidth) {
        double mean = 0, square = 0;
        for (size_t i = r; centred && i < r + kWidth; ++i) mean += at[i] / kWidth;
        for (size_t i = r; i < r + kWidth; ++i) square += (at[i] - mean) * (at[i] - mean) / kWidth;
        for (size_t i = r; i < r + kWidth; ++i) y[i] = (at[i] - mean) / std::sqrt(square + 0.01);
      }
      return y;
    };
    std::vector<float> dx(x.size());
    norm_back(x, kWidth, 0.01f, centred, dy, dx);
    expect_near(dx, by_differences(x, dy, norm), 1e-5);
  }
}

TEST(Derivatives, OfActivations) {
  using enum Activation;
  for (Activation f : {silu, gelu, gelu_erf, gelu_quick, relu, tanh}) {
    for (float x : {-3.f, -0.7f, 0.2f, 1.1f, 4.f}) {
      const double h = 1e-2;
      const double rise = double(activate(f, x + float(h)).y) - activate(f, x - float(h)).y;
      EXPECT_NEAR(activate(f, x).dy, rise / (2 * h), 2e-4) << int(f) << " at " << x;
    }
  }
  EXPECT_NEAR(activate(silu, 1).y, 1 / (1 + std::exp(-1)), 1e-6);
  EXPECT_NEAR(activate(gelu_erf, 1).y, 0.8413447, 1e-6);
  EXPECT_NEAR(activate(gelu, 1).y, 0.8411920, 1e-6);
  EXPECT_NEAR(activate(gelu_quick, 1).y, 0.8457958, 1e-6);
}

TEST(Derivatives, OfAttention) {
  constexpr size_t n = 4, m = 5, d = 3, e = 2;
  const auto q = draw(n * d, 3), k = draw(m * d, 4), v = draw(m * e, 5), dy = draw(n * e, 6);
  std::vector<float> mask(n * m);
  for (size_t i = 0; i < n; ++i) {
    for (size_t j = i + 2; j < m; ++j) mask[i * m + j] = -INFINITY;
  }
  for (float cap : {0.f, 1.5f}) {
    const auto attend = [&](const Doubles& qs, const Doubles& ks, const Doubles& vs) {
      Doubles y(n * e);
      for (size_t i = 0; i < n; ++i) {
        double sum = 0;
        Doubles w(m);
        for (size_t j = 0; j < m; ++j) {
          double s = 0;
          for (size_t c = 0; c < d; ++c) s += 0.7 * qs[i * d + c] * ks[j * d + c];
          if (cap > 0) s = cap * std::tanh(s / cap);
          sum += w[j] = std::exp(s + mask[i * m + j]);
        }
        for (size_t j = 0; j < m; ++j) {
          for (size_t c = 0; c < e; ++c) y[i * e + c] += w[j] / sum * vs[j * e + c];
        }
      }
      return y;
    };
    const Doubles qd(q.begin(), q.end()), kd(k.begin(), k.end()), vd(v.begin(), v.end());
    const Head head{
        {q.data(), n, d}, {k.data(), m, d}, {v.data(), m, e}, {mask.data(), n, m}, 0.7f, cap};
    const HeadGradient g = attention_back(head, {dy.data(), n, e});
    const auto of_q = [&](const Doubles& x) { return attend(x, kd, vd); };
    const auto of_k = [&](const Doubles& x) { return attend(qd, x, vd); };
    const auto of_v = [&](const Doubles& x) { return attend(qd, kd, x); };
    expect_near(g.q.flat(), by_differences(q, dy, of_q), 1e-5);
    expect_near(g.k.flat(), by_differences(k, dy, of_k), 1e-5);
    expect_near(g.v.flat(), by_differences(v, dy, of_v), 1e-5);
    for (size_t c = 0; c < e; ++c) EXPECT_EQ(g.v(m - 1, c) != 0, true);
  }
}

}  // namespace
}  // namespace kvsplice::host
