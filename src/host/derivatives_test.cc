// Derivatives against central differences of the operations, written out in double precision.
#include "host/derivatives.h"

#include <gtest/gtest.h>

#include <algorithm>
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

TEST(Derivatives, OfRepeats) {
  const Sizes whole = {3, 2, 4, 2};
  for (const Sizes& part : {whole, Sizes{3, 1, 1, 1}, Sizes{1, 2, 4, 2}, Sizes{1, 1, 4, 1},
                            Sizes{1, 1, 1, 1}, Sizes{3, 2, 2, 1}}) {
    const auto x = draw(part[0] * part[1] * part[2] * part[3], 1), dy = draw(48, 2);
    const auto repeat = [&](const Doubles& at) {
      Doubles y;
      for (size_t i = 0; i < 48; ++i) {
        const size_t i0 = i % 3 % part[0], i1 = i / 3 % 2 % part[1];
        const size_t i2 = i / 6 % 4 % part[2], i3 = i / 24 % part[3];
        y.push_back(at[i0 + part[0] * (i1 + part[1] * (i2 + part[2] * i3))]);
      }
      return y;
    };
    expect_near(sum_repeats(dy, whole, part), by_differences(x, dy, repeat), 1e-5);
  }
}

TEST(Derivatives, OfJoining) {
  const auto dy = draw(2 * 5 * 3, 1);
  for (size_t i = 0; i < 2 * 2 * 3; ++i) {  // [2, 2, 3] behind [2, 3, 3] along the second
    EXPECT_EQ(cut(dy, {2, 5, 3, 1}, 1, 3, 2)[i], dy[i / 4 * 10 + 6 + i % 4]);
  }
  for (size_t i = 0; i < 15; ++i) EXPECT_EQ(cut(dy, {2, 5, 3, 1}, 0, 1, 1)[i], dy[2 * i + 1]);
  EXPECT_EQ(cut(dy, {2, 5, 3, 1}, 2, 0, 3), dy);
}

TEST(Derivatives, OfQuotients) {
  const Sizes whole = {3, 4, 1, 1}, part = {1, 4, 1, 1};
  const auto a = draw(12, 1), dy = draw(12, 2);
  auto b = draw(4, 3);
  for (float& v : b) v += v < 0 ? -1 : 1;
  const auto divide = [](const Doubles& over, const Doubles& under) {
    Doubles y(over);
    for (size_t i = 0; i < 12; ++i) y[i] /= under[i / 3];
    return y;
  };
  const Doubles ad(a.begin(), a.end()), bd(b.begin(), b.end());
  const Quotient d = quotient_back(a, whole, b, part, dy);
  expect_near(d.a, by_differences(a, dy, [&](const Doubles& x) { return divide(x, bd); }), 1e-5);
  expect_near(d.b, by_differences(b, dy, [&](const Doubles& x) { return divide(ad, x); }), 1e-5);
}

TEST(Derivatives, OfSoftmax) {
  constexpr size_t kWidth = 5;
  const auto x = draw(3 * kWidth, 1), dy = draw(3 * kWidth, 2);
  const auto softmax = [&](const Doubles& at) {
    Doubles y(at.size());
    for (size_t r = 0; r < at.size(); r += kWidth) {
      double sum = 0;
      for (size_t i = r; i < r + kWidth; ++i) sum += y[i] = std::exp(0.7 * at[i]);
      for (size_t i = r; i < r + kWidth; ++i) y[i] /= sum;
    }
    return y;
  };
  std::vector<float> dx(x.size());
  softmax_back(x, kWidth, 0.7f, dy, dx);
  expect_near(dx, by_differences(x, dy, softmax), 1e-5);
}

TEST(Derivatives, OfGates) {
  const std::vector<float> points = {-9, -6.5f, -1, 0.3f, 2, 6.5f, 9};  // within limits and beyond
  const auto expect_slopes = [&](const auto& slope, const auto& f) {
    for (const float gate : points) {
      for (const float up : points) {
        const GateSlope s = slope(gate, up);
        const double h = 1e-5;
        EXPECT_NEAR(s.gate, (f(gate + h, up) - f(gate - h, up)) / (2 * h), 1e-4) << gate << up;
        EXPECT_NEAR(s.up, (f(gate, up + h) - f(gate, up - h)) / (2 * h), 1e-4) << gate << up;
      }
    }
  };
  expect_slopes([](float g, float u) { return gate_slope(Activation::silu, g, u); },
                [](double g, double u) { return g / (1 + std::exp(-g)) * u; });
  for (const bool oai : {false, true}) {
    const float steepness = oai ? 1.702f : 1, shift = oai ? 1 : 0;
    const auto limited = [=](double g, double u) {
      const double x = std::min(g, 7.0), within = std::clamp(u, -7.0, 7.0);
      return x / (1 + std::exp(-double(steepness) * x)) * (within + double(shift));
    };
    expect_slopes([=](float g, float u) { return limited_gate_slope(steepness, 7, shift, g, u); },
                  limited);
  }
}

TEST(Derivatives, OfActivations) {
  using enum Activation;
  for (Activation f :
       {silu, gelu, gelu_erf, gelu_quick, relu, tanh, sigmoid, softplus, square, exp}) {
    for (float x : {-3.f, -0.7f, 0.2f, 1.1f, 4.f}) {
      const double h = 1e-2;
      const double rise = double(activate(f, x + float(h)).y) - activate(f, x - float(h)).y;
      EXPECT_NEAR(activate(f, x).dy, rise / (2 * h), f == exp ? 2e-3 : 2e-4)
          << int(f) << " at " << x;
    }
  }
  EXPECT_NEAR(activate(sigmoid, 1).y, 0.7310586, 1e-6);
  EXPECT_NEAR(activate(softplus, 1).y, 1.3132617, 1e-6);
  EXPECT_EQ(activate(softplus, 200).y, 200);
  EXPECT_EQ(activate(softplus, -200).dy, 0);
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
    for (size_t j = 0; j < m; ++j)
      mask[i * m + j] = j < i + 2 ? -0.5f * float(i + 1 - j) : -INFINITY;
  }
  struct Variant {
    float cap, slope, sink;
  };
  for (const Variant& variant :
       {Variant{0, 1, -INFINITY}, Variant{1.5f, 1, -INFINITY}, Variant{0, 1, 0.8f},
        Variant{0, 0.3f, -INFINITY}, Variant{1.5f, 0.3f, -1}}) {
    const float cap = variant.cap, slope = variant.slope, sink = variant.sink;
    const auto attend = [&](const Doubles& qs, const Doubles& ks, const Doubles& vs) {
      Doubles y(n * e);
      for (size_t i = 0; i < n; ++i) {
        double sum = std::exp(sink);
        Doubles w(m);
        for (size_t j = 0; j < m; ++j) {
          double s = 0;
          for (size_t c = 0; c < d; ++c) s += 0.7 * qs[i * d + c] * ks[j * d + c];
          if (cap > 0) s = cap * std::tanh(s / cap);
          sum += w[j] = std::exp(s + slope * mask[i * m + j]);
        }
        for (size_t j = 0; j < m; ++j) {
          for (size_t c = 0; c < e; ++c) y[i * e + c] += w[j] / sum * vs[j * e + c];
        }
      }
      return y;
    };
    const Doubles qd(q.begin(), q.end()), kd(k.begin(), k.end()), vd(v.begin(), v.end());
    const Head head{{q.data(), n, d},
                    {k.data(), m, d},
                    {v.data(), m, e},
                    {mask.data(), n, m},
                    0.7f,
                    cap,
                    slope,
                    sink};
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

// The first heads' slopes are powers of one number, the others stand between them.
TEST(Derivatives, OfDistanceGoWithThePaper) {
  EXPECT_EQ(distance_slope(0, 12, 3), 1);
  for (size_t h = 0; h < 8; ++h) EXPECT_FLOAT_EQ(distance_slope(8, 8, h), std::pow(0.5f, h + 1));
  for (size_t h = 0; h < 8; ++h) EXPECT_EQ(distance_slope(8, 12, h), distance_slope(8, 8, h));
  for (size_t h = 8; h < 12; ++h) {
    EXPECT_FLOAT_EQ(distance_slope(8, 12, h), std::pow(0.5f, float(h - 8) + 0.5f));
  }
}

}  // namespace
}  // namespace kvsplice::host
