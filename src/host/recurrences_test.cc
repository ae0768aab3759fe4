// Against central differences of the recurrences, written out in double precision, over more tokens
// than are held at a time.
#include "host/recurrences.h"

#include <gtest/gtest.h>

#include <cmath>
#include <functional>

#include "core/random.h"

namespace kvsplice::host {
namespace {

using Doubles = std::vector<double>;

std::vector<float> draw(size_t n, uint64_t seed, double scale = 1) {
  Random random(seed);
  std::vector<float> x(n);
  for (float& v : x) v = float(scale * random.normal());
  return x;
}

// The gradient of <f(x), dy> at some of x, by differences.
void expect_slopes(std::span<const float> got, const std::vector<float>& x,
                   const std::vector<float>& dy, const std::function<Doubles(const Doubles&)>& f) {
  ASSERT_EQ(got.size(), x.size());
  Doubles at(x.begin(), x.end());
  const auto value = [&] {
    const Doubles y = f(at);
    double sum = 0;
    for (size_t i = 0; i < y.size(); ++i) sum += y[i] * dy[i];
    return sum;
  };
  double size = 0;
  for (size_t i = 0; i < x.size(); i += 1 + x.size() / 60) {
    const double h = 1e-5, was = at[i];
    at[i] = was + h;
    const double up = value();
    at[i] = was - h;
    const double slope = (up - value()) / (2 * h);
    at[i] = was;
    EXPECT_NEAR(got[i], slope, 2e-4 * (1 + std::abs(slope))) << i;
    size += std::abs(slope);
  }
  EXPECT_GT(size, 0.5);
}

Doubles doubles(const std::vector<float>& x) { return {x.begin(), x.end()}; }

class ScanOf : public testing::TestWithParam<bool> {};  // a decay for each state, or one a head

TEST_P(ScanOf, GoesBackAsDifferencesSay) {
  constexpr size_t kT = 9, kH = 6, kG = 2, kD = 3, kN = 4;
  const size_t decays = GetParam() ? kN : 1;
  auto a = draw(kH * decays, 1, 0.5);
  for (float& v : a) v = -std::abs(v) - 0.1f;
  const auto x = draw(kT * kH * kD, 2), dt = draw(kT * kH, 3), b = draw(kT * kG * kN, 4);
  const auto c = draw(kT * kG * kN, 5), start = draw(kH * kD * kN, 6);
  const auto dy = draw(kT * kH * kD + kH * kD * kN, 7);
  const auto scan = [&](const Doubles& in, const Doubles& steps, const Doubles& to,
                        const Doubles& from) {
    Doubles y(kT * kH * kD), h(start.begin(), start.end());
    for (size_t t = 0; t < kT; ++t) {
      for (size_t i = 0; i < kH * kD; ++i) {
        const size_t head = i / kD, group = (t * kG + head / (kH / kG)) * kN;
        const double d = std::log1p(std::exp(steps[t * kH + head]));
        for (size_t j = 0; j < kN; ++j) {
          const double rate = a[head * decays + (decays == 1 ? 0 : j)];
          double& state = h[i * kN + j];
          state = std::exp(d * rate) * state + d * in[t * kH * kD + i] * to[group + j];
          y[t * kH * kD + i] += from[group + j] * state;
        }
      }
    }
    y.insert(y.end(), h.begin(), h.end());
    return y;
  };
  const std::span all(dy);
  const ScanGradient g = scan_back({kT, kH, kG, kD, kN, x, dt, a, b, c, start},
                                   all.first(kT * kH * kD), all.subspan(kT * kH * kD));
  const Doubles dx = doubles(x), ddt = doubles(dt), db = doubles(b), dc = doubles(c);
  expect_slopes(g.x, x, dy, [&](const Doubles& at) { return scan(at, ddt, db, dc); });
  expect_slopes(g.dt, dt, dy, [&](const Doubles& at) { return scan(dx, at, db, dc); });
  expect_slopes(g.b, b, dy, [&](const Doubles& at) { return scan(dx, ddt, at, dc); });
  expect_slopes(g.c, c, dy, [&](const Doubles& at) { return scan(dx, ddt, db, at); });
}

INSTANTIATE_TEST_SUITE_P(Decays, ScanOf, testing::Bool());

class DeltaRuleOf : public testing::TestWithParam<bool> {};  // a gate for each column, or one

TEST_P(DeltaRuleOf, GoesBackAsDifferencesSay) {
  constexpr size_t kT = 131, kH = 4, kS = 2, kN = 3;
  const size_t gates = GetParam() ? kN : 1;
  const auto q = draw(kT * kS * kN, 1), k = draw(kT * kS * kN, 2, 0.5), v = draw(kT * kH * kN, 3);
  auto gate = draw(kT * kH * gates, 4, 0.2), beta = draw(kT * kH, 5, 0.2);
  for (float& x : gate) x = -std::abs(x);
  for (float& x : beta) x = std::abs(x);
  const auto start = draw(kH * kN * kN, 6), dy = draw(kT * kH * kN + kH * kN * kN, 7);
  using In = std::vector<Doubles>;
  const auto run = [&](const In& in) {
    Doubles y, m(start.begin(), start.end());
    for (size_t t = 0; t < kT; ++t) {
      for (size_t h = 0; h < kH; ++h) {
        const double *queries = &in[0][(t * kS + h % kS) * kN],
                     *keys = &in[1][(t * kS + h % kS) * kN];
        for (size_t j = 0; j < kN; ++j) {
          double* row = &m[(h * kN + j) * kN];
          double met = 0, out = 0;
          for (size_t i = 0; i < kN; ++i) {
            row[i] *= std::exp(in[3][(t * kH + h) * gates + (gates == 1 ? 0 : i)]);
            met += row[i] * keys[i];
          }
          const double more = in[4][t * kH + h] * (in[2][(t * kH + h) * kN + j] - met);
          for (size_t i = 0; i < kN; ++i) {
            row[i] += more * keys[i];
            out += row[i] * queries[i];
          }
          y.push_back(out / std::sqrt(double(kN)));
        }
      }
    }
    y.insert(y.end(), m.begin(), m.end());
    return y;
  };
  const std::span all(dy);
  const DeltaGradient g = delta_back({kT, kH, kS, kN, gates, q, k, v, gate, beta, start},
                                     all.first(kT * kH * kN), all.subspan(kT * kH * kN));
  const std::vector<float>* inputs[] = {&q, &k, &v, &gate, &beta};
  const std::vector<float>* met[] = {&g.q, &g.k, &g.v, &g.gate, &g.beta};
  for (size_t which = 0; which < 5; ++which) {
    SCOPED_TRACE(which);
    expect_slopes(*met[which], *inputs[which], dy, [&](const Doubles& at) {
      In in;
      for (const auto* x : inputs) in.push_back(doubles(*x));
      in[which] = at;
      return run(in);
    });
  }
}

INSTANTIATE_TEST_SUITE_P(Gates, DeltaRuleOf, testing::Bool());

}  // namespace
}  // namespace kvsplice::host
