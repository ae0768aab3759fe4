#include "functions/elementwise_kernel.h"

#include <gtest/gtest.h>

#include <vector>

#include "core/random.h"
#include "simd/target.h"

namespace kvsplice::elementwise_kernel {
namespace {

constexpr size_t kSizes[] = {0, 1, 7, 8, 33, 2500};

std::vector<float> normals(size_t n, float scale, uint64_t seed = 1) {
  Random random(seed);
  std::vector<float> x(n);
  for (float& v : x) v = scale * float(random.normal());
  return x;
}

std::vector<double> wide(const std::vector<float>& x) { return {x.begin(), x.end()}; }

void expect_near(const std::vector<float>& got, const std::vector<double>& wanted, double relative,
                 double absolute, const std::string& where) {
  for (size_t i = 0; i < got.size(); ++i) {
    ASSERT_NEAR(got[i], wanted[i], relative * std::abs(wanted[i]) + absolute) << where << " " << i;
  }
}

// Every target against the scalar reference in double, on lengths around a vector's.
template <class Test>
void on_all_targets(const Test& test) {
  for_each_simd_target([&](const std::string& target) {
    for (size_t n : kSizes) test(n, target + ", n = " + std::to_string(n));
  });
}

TEST(ElementwiseKernel, Softplus) {
  on_all_targets([](size_t n, const std::string& where) {
    const auto x = normals(n, 10);
    std::vector<float> value(n), derivative(n);
    softplus(x.data(), n, value.data(), derivative.data());
    std::vector<double> wanted(n), slope(n);
    softplus(wide(x).data(), n, wanted.data(), slope.data());
    expect_near(value, wanted, 1e-6, 1e-7, where);
    expect_near(derivative, slope, 1e-6, 1e-7, where);
  });
}

TEST(ElementwiseKernel, Gelu) {
  on_all_targets([](size_t n, const std::string& where) {
    const auto x = normals(3 * n, 3), bias = normals(n, 1, 2);
    std::vector<float> value(3 * n), derivative(3 * n);
    gelu(x.data(), bias.data(), 3, n, value.data(), derivative.data());
    std::vector<double> wanted(3 * n), slope(3 * n);
    gelu(wide(x).data(), wide(bias).data(), 3, n, wanted.data(), slope.data());
    expect_near(value, wanted, 3e-7, 8e-7, where);
    expect_near(derivative, slope, 3e-7, 8e-7, where);
  });
}

TEST(ElementwiseKernel, GeluFarOutIsTheLineOrZero) {
  const float x[4] = {-40, -9, 9, 40}, bias[4] = {};
  float value[4], derivative[4];
  gelu(x, bias, 1, 4, value, derivative);
  EXPECT_NEAR(value[0], 0, 1e-12);
  EXPECT_NEAR(value[1], 0, 1e-12);
  EXPECT_EQ(value[2], 9);
  EXPECT_EQ(value[3], 40);
  EXPECT_EQ(derivative[3], 1);
}

TEST(ElementwiseKernel, BoundedExp) {
  on_all_targets([](size_t n, const std::string& where) {
    const auto x = normals(n, 2);
    std::vector<float> bounded(n), factor(n);
    bounded_exp(x.data(), n, bounded.data(), factor.data());
    std::vector<double> wanted(n), wanted_factor(n);
    bounded_exp(wide(x).data(), n, wanted.data(), wanted_factor.data());
    expect_near(bounded, wanted, 1e-6, 1e-7, where);
    expect_near(factor, wanted_factor, 1e-6, 0, where);
  });
}

TEST(ElementwiseKernel, ResidualAndSumOfSquares) {
  on_all_targets([](size_t n, const std::string& where) {
    const auto x = normals(n, 1), start = normals(n, 1, 2);
    auto y = start;
    const double sum = residual(y.data(), x.data(), n, 0.5f);
    auto wanted = wide(start);
    const double wanted_sum = residual(wanted.data(), wide(x).data(), n, 0.5);
    EXPECT_NEAR(sum, wanted_sum, 1e-6 * wanted_sum) << where;
    expect_near(y, wanted, 1e-6, 1e-7, where);
    EXPECT_NEAR(sum_of_squares(y.data(), n), wanted_sum / 4, 1e-6 * wanted_sum) << where;
  });
}

TEST(ElementwiseKernel, AdamW) {
  on_all_targets([](size_t n, const std::string& where) {
    const auto g = normals(n, 1);
    auto p = normals(n, 1, 2), m = normals(n, 0.1f, 3), v = normals(n, 0.1f, 4);
    for (float& x : v) x *= x;
    auto wp = wide(p), wm = wide(m), wv = wide(v);
    const AdamWStep<float> step{0.9f, 0.999f, 1e-8f, 0.9999f, 2e-3f, 3.f};
    const AdamWStep<double> same{step.beta1, step.beta2, step.epsilon,
                                 step.keep,  step.rate,  step.unbias};
    adamw(step, g.data(), 0.5f, n, p.data(), m.data(), v.data());
    adamw(same, wide(g).data(), 0.5, n, wp.data(), wm.data(), wv.data());
    expect_near(p, wp, 1e-5, 1e-6, where);
    expect_near(m, wm, 1e-6, 1e-7, where);
    expect_near(v, wv, 1e-5, 1e-7, where);
  });
}

}  // namespace
}  // namespace kvsplice::elementwise_kernel
