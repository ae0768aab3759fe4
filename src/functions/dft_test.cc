#include "functions/dft.h"

#include <gtest/gtest.h>

#include <numbers>

#include "core/random.h"

namespace kvsplice::functions {
namespace {

using Complex = std::complex<double>;

std::vector<Complex> noise(size_t n) {
  Random random(n);
  std::vector<Complex> x(n);
  for (Complex& v : x) v = {random.normal(), random.normal()};
  return x;
}

std::vector<Complex> by_definition(const std::vector<Complex>& x) {
  const size_t n = x.size();
  std::vector<Complex> sums(n);
  for (size_t k = 0; k < n; ++k) {
    for (size_t t = 0; t < n; ++t) {
      sums[k] += x[t] * std::polar(1.0, -2 * std::numbers::pi * double(k * t % n) / double(n));
    }
  }
  return sums;
}

TEST(Dft, EqualsTheDefinitionAtAnyLength) {
  for (size_t n : {1, 2, 3, 4, 5, 7, 8, 12, 31, 64, 97, 100, 127, 128, 255, 257}) {
    auto x = noise(n);
    const auto expected = by_definition(x);
    Dft(n).forward(x);
    for (size_t k = 0; k < n; ++k) {
      EXPECT_LT(std::abs(x[k] - expected[k]), 1e-12 * double(n + 10)) << n << " bin " << k;
    }
  }
}

TEST(Dft, KeepsEnergyAtLargePrimeLength) {
  const size_t n = 10007;
  auto x = noise(n);
  double before = 0, after = 0;
  for (const Complex& v : x) before += std::norm(v);
  Dft(n).forward(x);
  for (const Complex& v : x) after += std::norm(v);
  EXPECT_NEAR(after / (double(n) * before), 1, 1e-12);
}

TEST(PowerSpectrum, OfAToneIsOneBin) {
  for (size_t n : {16, 21}) {
    std::vector<double> x(n);
    for (size_t t = 0; t < n; ++t)
      x[t] = std::cos(2 * std::numbers::pi * 3 * double(t) / double(n));
    const auto power = power_spectrum(Dft(n), x);
    ASSERT_EQ(power.size(), n / 2 + 1);
    for (size_t k = 0; k < power.size(); ++k) {
      EXPECT_NEAR(power[k], k == 3 ? double(n * n) / 4 : 0, 1e-9) << n << " bin " << k;
    }
  }
}

}  // namespace
}  // namespace kvsplice::functions
