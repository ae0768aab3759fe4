#include "functions/dct.h"

#include <gtest/gtest.h>

#include <cmath>
#include <numbers>
#include <numeric>

#include "core/random.h"
#include "simd/target.h"

namespace kvsplice::functions {
namespace {

Matrix<float> normals(size_t rows, size_t cols, uint64_t seed = 1) {
  Random random(seed);
  Matrix<float> m(rows, cols);
  for (float& x : m.flat()) x = float(random.normal());
  return m;
}

// The definition, term by term.
double coefficient(MatrixView<const float> x, size_t k, size_t column) {
  double sum = 0;
  const double n = double(x.rows);
  for (size_t t = 0; t < x.rows; ++t) {
    sum += x(t, column) * std::cos(std::numbers::pi * double(k) * (2 * double(t) + 1) / (2 * n));
  }
  return sum * std::sqrt((k == 0 ? 1 : 2) / n);
}

TEST(Dct, IsItsDefinitionAtEveryLengthAndTarget) {
  for_each_simd_target([](const std::string& target) {
    SCOPED_TRACE(target);
    for (size_t n : {1, 2, 3, 7, 16, 45, 64, 101}) {
      for (size_t d : {1, 16, 17, 37}) {
        const auto x = normals(n, d);
        const auto got = Dct(n).forward(x);
        for (size_t k = 0; k < n; ++k) {
          for (size_t c = 0; c < d; c += 5) ASSERT_NEAR(got(k, c), coefficient(x, k, c), 2e-5);
        }
      }
    }
  });
}

TEST(Dct, InverseOfAllCoefficientsGivesTheRowsBack) {
  for (size_t n : {1, 2, 37, 512}) {
    const auto x = normals(n, 20);
    const Dct dct(n);
    std::vector<uint32_t> all(n);
    std::iota(all.begin(), all.end(), 0u);
    const auto back = dct.inverse(all, dct.forward(x));
    for (size_t i = 0; i < x.size(); ++i) ASSERT_NEAR(back.flat()[i], x.flat()[i], 2e-5);
  }
}

// The transform is orthonormal, so what is dropped is the error, to the last bit of energy.
TEST(Dct, ErrorIsTheEnergyDropped) {
  const size_t n = 256;
  const auto x = normals(n, 24);
  const Dct dct(n);
  const auto all = dct.forward(x);
  const auto kept = strongest_rows(all, 40);
  ASSERT_EQ(kept.size(), 40u);
  EXPECT_TRUE(std::is_sorted(kept.begin(), kept.end()));
  Matrix<float> some(kept.size(), x.cols());
  double energy = 0, held = 0, error = 0, lowest = 0;
  for (float v : all.flat()) energy += double(v) * v;
  for (size_t i = 0; i < kept.size(); ++i) {
    for (size_t c = 0; c < x.cols(); ++c) {
      some(i, c) = all(kept[i], c);
      held += double(some(i, c)) * some(i, c);
      lowest += double(all(i, c)) * all(i, c);
    }
  }
  const auto back = dct.inverse(kept, some);
  for (size_t i = 0; i < x.size(); ++i) error += std::pow(back.flat()[i] - x.flat()[i], 2);
  EXPECT_NEAR(error, energy - held, 1e-3 * energy);
  EXPECT_GT(held, lowest);
}

TEST(Dct, BandwidthFindsTheWave) {
  const size_t n = 200;
  Matrix<float> x(n, 3);
  for (size_t t = 0; t < n; ++t) {
    for (size_t c = 0; c < 3; ++c) {
      x(t, c) = float(5 + std::cos(std::numbers::pi * 30 * (2 * double(t) + 1) / (2 * n)));
    }
  }
  EXPECT_EQ(bandwidth(Dct(n).forward(x), 0.8), 30u);
  EXPECT_EQ(bandwidth(Dct(n).forward(Matrix<float>(n, 3)), 0.8), 0u);
  const size_t white = bandwidth(Dct(n).forward(normals(n, 3)), 0.8);
  EXPECT_NEAR(double(white), 160, 20);
}

}  // namespace
}  // namespace kvsplice::functions
