#include "functions/siren_kernel.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <limits>
#include <string>

#include "core/aligned.h"
#include "core/random.h"
#include "simd/target.h"

namespace kvsplice::siren_kernel {
namespace {

AlignedVector<float> normals(size_t n, uint64_t seed) {
  Random random(seed);
  AlignedVector<float> out(n);
  for (float& x : out) x = float(random.normal());
  return out;
}

size_t panels(size_t columns, size_t width) { return (columns + width - 1) / width; }

TEST(SirenKernel, ProductIsTheScalarProductAtEveryTarget) {
  for_each_simd_target([](const std::string& target) {
    SCOPED_TRACE(target);
    const size_t width = panel_width(0.0f);
    ASSERT_LE(width, kMaxPanelWidth);
    for (size_t rows : {1, 5, 6, 7, 29}) {
      for (size_t depth : {1, 3, 16, 33, 70}) {
        const auto a = normals(panels(depth, width) * width * rows, 1);
        const auto w = normals(depth * width, 2);
        AlignedVector<float> got(rows * width), want(rows * width);
        product(a.data(), rows, depth, w.data(), got.data());
        reference::product(width, a.data(), rows, depth, w.data(), want.data());
        for (size_t i = 0; i < got.size(); ++i) ASSERT_NEAR(got[i], want[i], 1e-4) << i;
      }
    }
  });
}

TEST(SirenKernel, OuterAddsTheScalarSumAtEveryTarget) {
  for_each_simd_target([](const std::string& target) {
    SCOPED_TRACE(target);
    const size_t width = panel_width(0.0f);
    for (size_t rows : {1, 8, 31}) {
      for (size_t columns : {1, 6, 20, 37}) {
        const auto a = normals(panels(columns, width) * width * rows, 3);
        const auto d = normals(rows * width, 4);
        auto got = normals(columns * width, 5), want = got;
        outer(a.data(), columns, rows, d.data(), got.data());
        reference::outer(width, a.data(), columns, rows, d.data(), want.data());
        for (size_t i = 0; i < got.size(); ++i) ASSERT_NEAR(got[i], want[i], 1e-4) << i;
      }
    }
  });
}

// Arguments up to omega = 30 times sums of 30, densely, and the places where quarters meet.
TEST(SirenKernel, SineAndCosineAreAccurateAtEveryTarget) {
  for_each_simd_target([](const std::string& target) {
    SCOPED_TRACE(target);
    const size_t width = panel_width(0.0f), rows = 1 << 12;
    AlignedVector<float> x(rows * width), s(x.size()), c(x.size());
    const AlignedVector<float> zero(width);
    double worst = 0;
    for (double reach : {1e-6, 1.0, 30.0, 900.0, 9000.0}) {
      for (size_t i = 0; i < x.size(); ++i) {
        const double at = reach * (2.0 * double(i) / double(x.size()) - 1);
        x[i] =
            i % 3 == 0 ? float(std::round(at / 0.785398163397448) * 0.785398163397448) : float(at);
      }
      sine_rows(x.data(), rows, zero.data(), 1, s.data(), c.data());
      for (size_t i = 0; i < x.size(); ++i) {
        worst = std::max(worst, std::abs(s[i] - std::sin(double(x[i]))));
        worst = std::max(worst, std::abs(c[i] - std::cos(double(x[i]))));
      }
    }
    EXPECT_LT(worst, 2e-7);
    EXPECT_GT(worst, 1e-9);  // it is float arithmetic, after all
  });
}

TEST(SirenKernel, SineOfBiasAndOmega) {
  for_each_simd_target([](const std::string& target) {
    SCOPED_TRACE(target);
    const size_t width = panel_width(0.0f), rows = 7;
    const auto z = normals(rows * width, 6), bias = normals(width, 7);
    AlignedVector<float> s = z, c(z.size()), s_want(z.size()), c_want(z.size());
    sine_rows(s.data(), rows, bias.data(), 30, s.data(), c.data());  // in place
    reference::sine_rows(width, z.data(), rows, bias.data(), 30.0f, s_want.data(), c_want.data());
    for (size_t i = 0; i < z.size(); ++i) {
      ASSERT_NEAR(s[i], s_want[i], 1e-6) << i;
      ASSERT_NEAR(c[i], c_want[i], 1e-6) << i;
    }
  });
}

TEST(SirenKernel, SineOfWhatIsNoNumberIsNoNumber) {
  for_each_simd_target([](const std::string& target) {
    SCOPED_TRACE(target);
    const size_t width = panel_width(0.0f);
    AlignedVector<float> x(width, std::numeric_limits<float>::quiet_NaN()), c(width);
    const AlignedVector<float> zero(width);
    x[0] = std::numeric_limits<float>::infinity();
    sine_rows(x.data(), 1, zero.data(), 1, x.data(), c.data());
    for (size_t i = 0; i < width; ++i) EXPECT_TRUE(std::isnan(x[i]) && std::isnan(c[i])) << i;
  });
}

TEST(SirenKernel, ElementwiseKernelsAreTheScalarOnesAtEveryTarget) {
  for_each_simd_target([](const std::string& target) {
    SCOPED_TRACE(target);
    const size_t width = panel_width(0.0f), rows = 11, n = rows * width;
    const auto a = normals(n, 8), b = normals(n, 9), bias = normals(width, 10);
    auto got = b, want = b;
    multiply(a.data(), n, got.data());
    reference::multiply(a.data(), n, want.data());
    EXPECT_TRUE(std::equal(got.begin(), got.end(), want.begin()));

    auto sum = bias, sum_want = bias;
    add_columns(a.data(), rows, sum.data());
    reference::add_columns(width, a.data(), rows, sum_want.data());
    for (size_t i = 0; i < width; ++i) EXPECT_NEAR(sum[i], sum_want[i], 1e-5);

    got = a, want = a;
    const double squares = residual(got.data(), rows, bias.data(), b.data(), 0.5f);
    const double squares_want =
        reference::residual(width, want.data(), rows, bias.data(), b.data(), 0.5f);
    EXPECT_NEAR(squares, squares_want, 1e-5 * squares_want);
    for (size_t i = 0; i < n; ++i) EXPECT_NEAR(got[i], want[i], 1e-6);

    auto p = a, p_want = a;
    AlignedVector<float> m(n, 0.1f), v(n, 0.2f), m_want = m, v_want = v;
    const AdamStep<float> step{1e-2f, 0.9f, 0.999f, 1e-8f, 0.19f, 0.002f};
    adam(step, b.data(), 30, n, p.data(), m.data(), v.data());
    reference::adam(step, b.data(), 30.0f, n, p_want.data(), m_want.data(), v_want.data());
    for (size_t i = 0; i < n; ++i) {
      EXPECT_NEAR(p[i], p_want[i], 1e-6);
      EXPECT_NEAR(m[i], m_want[i], 1e-5);
      EXPECT_NEAR(v[i], v_want[i], 1e-5);
    }
  });
}

}  // namespace
}  // namespace kvsplice::siren_kernel
