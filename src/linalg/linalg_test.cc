#include "linalg/linalg.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "core/threads.h"
#include "linalg/matrices_test.h"

namespace kvsplice {
namespace {

TEST(Gemm, EqualsPlainProductForEveryTransposition) {
  const size_t sizes[][3] = {{3, 4, 5}, {300, 17, 40}, {40, 33, 700}, {1, 1, 1}, {513, 5, 513}};
  for (const auto& [n, k, m] : sizes) {
    for (Trans ta : {Trans::no, Trans::yes}) {
      for (Trans tb : {Trans::no, Trans::yes}) {
        const auto a = ta == Trans::no ? noise(n, k, 1) : noise(k, n, 1);
        const auto b = tb == Trans::no ? noise(k, m, 2) : noise(m, k, 2);
        Matrix<float> c = noise(n, m, 3);
        Matrix<double> wanted =
            plain_product(transposed_if(ta, a.view()), transposed_if(tb, b.view()));
        for (size_t i = 0; i < c.size(); ++i) {
          wanted.flat()[i] = 2 * wanted.flat()[i] - 0.5 * c.flat()[i];
        }
        gemm(ta, tb, 2.f, a, b, -0.5f, c);
        const std::vector<double> got(c.flat().begin(), c.flat().end());
        EXPECT_LT(largest_difference(got, wanted.flat()), 1e-4) << n << ' ' << k << ' ' << m;
      }
    }
  }
}

// Views with gaps between rows.
TEST(Gemm, SmallAndOddShapesEqualPlainProducts) {
  Random random(4);
  for (int trial = 0; trial < 600; ++trial) {
    const auto side = [&] { return 1 + random.below(trial % 10 == 0 ? 150 : 36); };
    const size_t n = side(), k = side(), m = side();
    const Trans ta = trial & 1 ? Trans::yes : Trans::no, tb = trial & 2 ? Trans::yes : Trans::no;
    const auto matrix = [&](size_t rows, size_t cols) {
      Matrix<float> made(rows, cols + trial % 3);
      for (float& x : made.flat()) x = static_cast<float>(random.normal());
      return made;
    };
    const Matrix<float> a = ta == Trans::no ? matrix(n, k) : matrix(k, n);
    const Matrix<float> b = tb == Trans::no ? matrix(k, m) : matrix(m, k);
    Matrix<float> c = matrix(n, m);
    const auto wide_a = a.view().col_range(0, ta == Trans::no ? k : n);
    const auto wide_b = b.view().col_range(0, tb == Trans::no ? m : k);
    const Matrix<double> product =
        plain_product(transposed_if(ta, wide_a), transposed_if(tb, wide_b));
    const float beta = static_cast<float>(trial % 5) / 4;
    Matrix<double> wanted = transposed_if(Trans::no, c.view());
    for (size_t r = 0; r < n; ++r) {
      for (size_t col = 0; col < m; ++col) {
        wanted(r, col) = 1.5 * product(r, col) + beta * wanted(r, col);
      }
    }
    gemm(ta, tb, 1.5f, wide_a, wide_b, beta, c.view().col_range(0, m));
    const std::vector<double> got(c.flat().begin(), c.flat().end());
    ASSERT_LT(largest_difference(got, wanted.flat()), 1e-4) << n << ' ' << k << ' ' << m;
  }
}

TEST(Gemm, EmptySumScalesByBeta) {
  Matrix<float> c(2, 2);
  std::fill(c.flat().begin(), c.flat().end(), 3.f);
  gemm(Trans::no, Trans::no, 1.f, Matrix<float>(2, 0), Matrix<float>(0, 2), 0.f, c);
  EXPECT_EQ(c, Matrix<float>(2, 2));
}

// Pieces for threads and strips of rows are cut anywhere.
TEST(Gemm, ValuesDoNotDependOnTheNumberOfThreadsOrTheirSurroundings) {
  const auto a = noise(1100, 300, 1), b = noise(300, 200, 2), wide = noise(300, 1500, 3);
  const int before = thread_count();
  set_thread_count(1);
  Matrix<float> tall(1100, 200), broad(1100, 1500), one_row(1, 200), one_column(1100, 1);
  gemm(Trans::no, Trans::no, 1.f, a, b, 0.f, tall);
  gemm(Trans::no, Trans::no, 1.f, a, wide, 0.f, broad);
  for (int threads : {2, 3, 7}) {
    set_thread_count(threads);
    Matrix<float> again(1100, 200), broad_again(1100, 1500);
    gemm(Trans::no, Trans::no, 1.f, a, b, 0.f, again);
    gemm(Trans::no, Trans::no, 1.f, a, wide, 0.f, broad_again);
    EXPECT_EQ(again, tall) << threads;
    EXPECT_EQ(broad_again, broad) << threads;
  }
  set_thread_count(before);
  gemm(Trans::no, Trans::no, 1.f, a.view().row_range(777, 1), b, 0.f, one_row);
  gemm(Trans::no, Trans::no, 1.f, a, b.view().col_range(131, 1), 0.f, one_column);
  for (size_t c = 0; c < 200; ++c) EXPECT_EQ(one_row(0, c), tall(777, c));
  for (size_t r = 0; r < 1100; ++r) EXPECT_EQ(one_column(r, 0), tall(r, 131));
}

TEST(Gemm, EmptyShapesDoNothing) {
  Matrix<float> none(0, 3), c(0, 5), high(4, 0);
  gemm(Trans::no, Trans::no, 1.f, none, Matrix<float>(3, 5), 0.f, c);
  gemm(Trans::no, Trans::no, 1.f, Matrix<float>(4, 3), Matrix<float>(3, 0), 0.f, high);
  gemm(Trans::yes, Trans::yes, 1.f, Matrix<float>(), Matrix<float>(), 0.f, Matrix<float>());
  EXPECT_TRUE(c.empty());
}

TEST(MultiplyLower, IsTheProductWithTheWhole) {
  for (size_t n : {0, 1, 5, 64, 300, 513, 700}) {
    Matrix<float> l = noise(n, n, n + 1);
    for (size_t r = 0; r < n; ++r) std::fill(l.row(r).begin() + r + 1, l.row(r).end(), 0.f);
    const Matrix<float> b = noise(n, 193, 5);
    Matrix<float> wanted(n, 193), got = noise(n, 193, 6);
    gemm(Trans::no, Trans::no, 1.f, l, b, 0.f, wanted);
    multiply_lower(l, b, got);
    EXPECT_EQ(got, wanted) << n;
  }
}

// A matrix whose eigenvalues are within 1 and about 5.
Matrix<double> definite(size_t n, uint64_t seed) {
  const Matrix<float> x = noise(n, n, seed);
  Matrix<double> a =
      plain_product(transposed_if(Trans::no, x.view()), transposed_if(Trans::yes, x.view()));
  for (double& v : a.flat()) v /= double(n);
  for (size_t i = 0; i < n; ++i) a(i, i) += 1;
  return a;
}

TEST(Cholesky, TheFactorsProductIsTheMatrix) {
  for (size_t n : {0, 1, 2, 31, 32, 33, 64, 100, 300}) {
    const Matrix<double> a = definite(n, n);
    Matrix<float> given(n, n);
    for (size_t r = 0; r < n; ++r) {
      for (size_t c = 0; c < n; ++c) {
        given(r, c) = c <= r ? static_cast<float>(a(r, c)) : 1e9f;  // not read
      }
    }
    const Matrix<float> l = cholesky(given).value();
    const auto wide = transposed_if(Trans::no, l.view());
    for (size_t r = 0; r < n; ++r) {
      EXPECT_GT(l(r, r), 0);
      for (size_t c = r + 1; c < n; ++c) ASSERT_EQ(l(r, c), 0) << n;
    }
    const auto product = plain_product(wide, transposed_if(Trans::yes, l.view()));
    EXPECT_LT(largest_difference(product.flat(), a.flat()), 3e-6) << n;
  }
}

TEST(Cholesky, RefusesWhatIsNotDefiniteAndSaysWhere) {
  for (size_t row : {0, 5, 32, 77}) {
    Matrix<float> a(80, 80);
    for (size_t i = 0; i < 80; ++i) a(i, i) = i == row ? -1.f : 1.f;
    const auto made = cholesky(a);
    ASSERT_FALSE(made.ok());
    EXPECT_EQ(made.error().kind, ErrorKind::numeric);
    EXPECT_NE(made.error().message.find("at row " + std::to_string(row) + ")"), std::string::npos)
        << made.error().message;
  }
  Matrix<float> a(3, 3);
  a(2, 0) = std::numeric_limits<float>::quiet_NaN();
  EXPECT_EQ(cholesky(a).error().kind, ErrorKind::numeric);
}

TEST(InverseSpd, TimesTheMatrixIsOne) {
  for (size_t n : {0, 1, 2, 7, 64, 129}) {
    const Matrix<double> a = definite(n, n + 1);
    Matrix<double> lower = a;
    for (size_t r = 0; r < n; ++r) {
      for (size_t c = r + 1; c < n; ++c) lower(r, c) = 1e9;  // not read
    }
    const Matrix<double> inverse = inverse_spd(lower).value();
    Matrix<double> one(n, n);
    for (size_t r = 0; r < n; ++r) {
      one(r, r) = 1;
      for (size_t c = 0; c < r; ++c) ASSERT_EQ(inverse(r, c), inverse(c, r));
    }
    EXPECT_LT(largest_difference(plain_product(a, inverse).flat(), one.flat()), 1e-13) << n;
  }
}

TEST(InverseSpd, OfAnUnevenMatrixIsExactEnough) {
  Matrix<double> a(3, 3);  // of Hilbert, whose inverse is known
  for (size_t r = 0; r < 3; ++r) {
    for (size_t c = 0; c < 3; ++c) a(r, c) = 1.0 / double(r + c + 1);
  }
  const double wanted[] = {9, -36, 30, -36, 192, -180, 30, -180, 180};
  const Matrix<double> inverse = inverse_spd(a).value();
  for (size_t i = 0; i < 9; ++i) EXPECT_NEAR(inverse.flat()[i], wanted[i], 1e-10);
}

TEST(InverseSpd, RefusesWhatIsNotDefinite) {
  Matrix<double> a(2, 2);
  a(0, 0) = 1, a(1, 1) = 1, a(1, 0) = 1;
  EXPECT_EQ(inverse_spd(a).error().kind, ErrorKind::numeric);
  a(1, 0) = std::numeric_limits<double>::infinity();
  EXPECT_EQ(inverse_spd(a).error().kind, ErrorKind::numeric);
}

TEST(Statistics, MeansEqualPlainSums) {
  for (size_t rows : {0, 1, 3, 127, 129, 1500}) {
    const auto x = noise(rows, 21, rows + 1);
    const auto means = column_means(x);
    std::vector<double> plain(21);
    for (size_t r = 0; r < rows; ++r) {
      for (size_t c = 0; c < 21; ++c) plain[c] += x(r, c) / double(rows);
    }
    EXPECT_LT(largest_difference(means, plain), 1e-14);
    double squares = 0;
    for (size_t r = 0; r < rows; ++r) {
      for (size_t c = 0; c < 21; ++c) squares += std::pow(x(r, c) - means[c], 2);
    }
    EXPECT_NEAR(rms_about_mean(x), std::sqrt(squares / double(std::max<size_t>(rows * 21, 1))),
                1e-12);
  }
}

TEST(Linalg, ColumnsInUseEndWithTheLastThatIsNotZero) {
  Matrix<float> x(3, 5);
  EXPECT_EQ(columns_in_use(x), 0u);
  x(2, 0) = 1;
  EXPECT_EQ(columns_in_use(x), 1u);
  x(0, 3) = -1;
  EXPECT_EQ(columns_in_use(x), 4u);
  EXPECT_EQ(columns_in_use(x.view().col_range(0, 3)), 1u);
  EXPECT_EQ(columns_in_use(Matrix<float>(0, 5)), 0u);
}

}  // namespace
}  // namespace kvsplice
