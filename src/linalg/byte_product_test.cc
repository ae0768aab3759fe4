#include "linalg/byte_product.h"

#include <gtest/gtest.h>

#include <cmath>

#include "linalg/byte_product_kernel.h"
#include "linalg/matrices_test.h"
#include "simd/target.h"

namespace kvsplice {
namespace {

struct Example {
  Matrix<float> left, right;  // parts of the rows
  std::vector<float> factors, scale;
  Matrix<float> codes;

  Example(size_t rows, size_t inner, size_t cols, int largest) {
    Random random(rows * 1000 + inner * 10 + cols);
    left = normals(random, rows, inner / 3);
    right = normals(random, rows, inner - inner / 3);
    for (size_t i = 0; i < inner; ++i) factors.push_back(float(0.5 + random.uniform()));
    codes = Matrix<float>(cols, inner);
    for (float& c : codes.flat()) c = float(int(random.below(2 * largest + 1)) - largest);
    for (size_t k = 0; k < cols; ++k) scale.push_back(float(0.1 + random.uniform()));
  }

  Matrix<float> product() const {
    const std::vector<MatrixView<const float>> parts = {left.view(), right.view()};
    const ByteRows x(parts, factors);
    const ByteMatrix m(codes.view(), scale);
    Matrix<float> out(left.rows(), codes.rows());
    m.multiply(x, out);
    return out;
  }

  double input(size_t r, size_t i) const {
    const double x = i < left.cols() ? left(r, i) : right(r, i - left.cols());
    return x * factors[i];
  }

  // Rounded here, in double, and multiplied here.
  Matrix<double> expected() const {
    Matrix<double> made(left.rows(), codes.rows());
    for (size_t r = 0; r < made.rows(); ++r) {
      double peak = 0;
      for (size_t i = 0; i < codes.cols(); ++i) peak = std::max(peak, std::abs(input(r, i)));
      for (size_t k = 0; k < made.cols(); ++k) {
        double sum = 0;
        for (size_t i = 0; i < codes.cols(); ++i) {
          sum += std::nearbyint(input(r, i) * 127 / peak) * codes(k, i);
        }
        made(r, k) = sum * peak / 127 * scale[k];
      }
    }
    return made;
  }
};

// Sizes around those of quads, panels, tiles and vectors.
std::vector<Example> examples() {
  std::vector<Example> made;
  for (size_t rows : {1, 5, 12, 13, 31}) {
    for (size_t inner : {0, 3, 4, 9, 64, 130}) {
      for (size_t cols : {1, 4, 15, 16, 17, 33, 48}) made.emplace_back(rows, inner, cols, 127);
    }
  }
  made.emplace_back(100, 700, 50, 20);
  return made;
}

TEST(ByteProduct, IsThatOfRoundedRows) {
  for (const Example& e : examples()) {
    const Matrix<double> expected = e.expected();
    const Matrix<float> made = e.product();
    double most = 0;
    for (double v : expected.flat()) most = std::max(most, std::abs(v));
    for (size_t i = 0; i < made.size(); ++i) {
      ASSERT_NEAR(made.flat()[i], expected.flat()[i], 1e-5 * most)
          << e.left.rows() << " x " << e.codes.cols() << " x " << e.codes.rows();
    }
  }
}

TEST(ByteMatrix, OfValuesIsTheyInStepsOfTheLargest) {
  Random random(5);
  Matrix<float> values = normals(random, 21, 30);
  std::fill_n(values.row(4).begin(), 30, 0.f);
  const Matrix<float> made = ByteMatrix::rounded(values).floats();
  for (size_t r = 0; r < values.rows(); ++r) {
    float peak = 0, off = 0;
    for (float v : values.row(r)) peak = std::max(peak, std::abs(v));
    for (size_t c = 0; c < 30; ++c) off = std::max(off, std::abs(made(r, c) - values(r, c)));
    EXPECT_LE(off, peak / 253) << r;
    if (peak > 0) {
      EXPECT_GT(off, peak / 2540) << r;
    }
  }
}

TEST(ByteProduct, IsNearThatOfTheRowsThemselves) {
  const Example e(40, 600, 32, 30);
  const Matrix<float> made = e.product();
  double error = 0, power = 0;
  for (size_t r = 0; r < made.rows(); ++r) {
    for (size_t k = 0; k < made.cols(); ++k) {
      double exact = 0;
      for (size_t i = 0; i < 600; ++i) exact += e.input(r, i) * e.codes(k, i) * e.scale[k];
      error += std::pow(made(r, k) - exact, 2);
      power += exact * exact;
    }
  }
  // Uniform errors of 1 / 127 of a largest value of about 4 rms: 4 / 127 / sqrt(12) = .9 %.
  EXPECT_LT(std::sqrt(error / power), 0.012);
  EXPECT_GT(std::sqrt(error / power), 0.004);
}

TEST(ByteProduct, AllTargetsGiveTheSameBits) {
  const std::vector<Example> all = examples();
  std::vector<Matrix<float>> first;
  for (const Example& e : all) first.push_back(e.product());
  size_t targets = 0;
  for_each_simd_target([&](const std::string& name) {
    ++targets;
    for (size_t i = 0; i < all.size(); ++i) ASSERT_EQ(all[i].product(), first[i]) << name;
  });
  EXPECT_GE(targets, 2u);
}

TEST(ByteProduct, KernelIsTheReference) {
  using namespace byte_product_kernel;
  Random random(3);
  constexpr size_t kRows = 29, kQuads = 37, kCols = 53;
  std::vector<int8_t> a(kRows * kQuads * kQuad);
  std::vector<uint8_t> weights((kCols + kPanel) / kPanel * kPanel * kQuads * kQuad);
  for (auto& x : a) x = static_cast<int8_t>(random.below(255));
  for (auto& x : a) x = std::max<int8_t>(x, -127);
  for (auto& w : weights) w = static_cast<uint8_t>(random.below(256));
  std::vector<float> scale(kRows), column_scale(kCols);
  std::vector<int32_t> sums(kRows);
  for (size_t r = 0; r < kRows; ++r) {
    scale[r] = float(random.uniform());
    for (size_t i = 0; i < kQuads * kQuad; ++i) sums[r] += a[r * kQuads * kQuad + i];
  }
  for (float& s : column_scale) s = float(random.uniform());
  Matrix<float> expected(kRows, kCols), made(kRows, kCols);
  Product p{kRows,           kQuads,         kCols,
            a.data(),        kQuads * kQuad, weights.data(),
            scale.data(),    sums.data(),    column_scale.data(),
            expected.data(), kCols};
  reference::multiply(p);
  p.c = made.data();
  for_each_simd_target([&](const std::string& name) {
    made = Matrix<float>(kRows, kCols);
    p.c = made.data();
    byte_product_kernel::multiply(p);
    ASSERT_EQ(made, expected) << name;
    p.add = true;
    byte_product_kernel::multiply(p);
    p.add = false;
    Matrix<float> twice = expected;
    for (float& v : twice.flat()) v *= 2;
    ASSERT_EQ(made, twice) << name;
  });
}

TEST(ByteProduct, PairsHoldFifteenBits) {
  Random random(4);
  constexpr size_t kCount = 53;
  std::vector<float> row(kCount), factor(kCount);
  for (float& v : row) v = float(random.normal());
  for (float& v : factor) v = float(random.uniform());
  std::vector<int8_t> high(kCount), low(kCount);
  const float scale = byte_product_kernel::reference::round_pair(row.data(), factor.data(), kCount,
                                                                 high.data(), low.data());
  double largest = 0;
  for (size_t i = 0; i < kCount; ++i) {
    const double kept = scale * (high[i] + double(low[i]) / byte_product_kernel::kLowSteps);
    largest = std::max(largest, std::abs(kept - double(row[i]) * factor[i]) / scale);
  }
  EXPECT_LT(largest, 0.52 / byte_product_kernel::kLowSteps);
  EXPECT_GT(largest, 0.2 / byte_product_kernel::kLowSteps);
  for_each_simd_target([&](const std::string& name) {
    std::vector<int8_t> own(kCount), left(kCount), alone(kCount);
    EXPECT_EQ(
        byte_product_kernel::round_pair(row.data(), factor.data(), kCount, own.data(), left.data()),
        scale)
        << name;
    EXPECT_EQ(own, high) << name;
    for (size_t i = 0; i < kCount; ++i) EXPECT_NEAR(left[i], low[i], 1) << name;
    byte_product_kernel::round_row(row.data(), factor.data(), kCount, alone.data());
    EXPECT_EQ(alone, high) << name;
  });
}

TEST(ByteProduct, RowsThatCannotBeScaledAreZeros) {
  for_each_simd_target([&](const std::string& name) {
    for (const float value : {0.f, 1e-45f, INFINITY}) {
      std::vector<float> row(21, value), ones(21, 1.f);
      std::vector<int8_t> to(21, 5);
      EXPECT_EQ(byte_product_kernel::round_row(row.data(), ones.data(), 21, to.data()), 0) << name;
      EXPECT_EQ(to, std::vector<int8_t>(21)) << name;
    }
    std::vector<float> row = {3, -1.5f, 0.75f}, ones(3, 1.f);
    std::vector<int8_t> to(3);
    EXPECT_FLOAT_EQ(byte_product_kernel::round_row(row.data(), ones.data(), 3, to.data()),
                    3.f / 127);
    EXPECT_EQ(to, (std::vector<int8_t>{127, -64, 32})) << name;  // 63.5 and 31.75
  });
}

}  // namespace
}  // namespace kvsplice
