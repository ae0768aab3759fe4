#include "solve/solve.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numbers>
#include <numeric>

#include "codec/transform/svd/low_rank.h"
#include "core/threads.h"
#include "linalg/matrices_test.h"

namespace kvsplice {
namespace {

// Rows whose covariance has eigenvalues from 1 down to `smallest`, in no particular direction.
Matrix<float> coloured(size_t rows, size_t cols, double smallest, uint64_t seed) {
  Matrix<float> scaled = noise(rows, cols, seed);
  for (size_t c = 0; c < cols; ++c) {
    const double scale =
        std::pow(smallest, 0.5 * double(c) / double(std::max<size_t>(cols - 1, 1)));
    for (size_t r = 0; r < rows; ++r) scaled(r, c) *= static_cast<float>(scale);
  }
  const Svd turn = thin_svd(noise(cols, cols, seed + 1)).value();
  Matrix<float> out(rows, cols);
  gemm(Trans::no, Trans::no, 1.f, scaled, turn.vt, 0.f, out);
  return out;
}

// A second way to singular values: one-sided Jacobi rotations in double. Returns them descending.
std::vector<double> jacobi_singular_values(MatrixView<const float> a) {
  Matrix<double> m = transposed_if(Trans::yes, a);  // row i is column i of a
  const auto dot = [&](size_t i, size_t j) {
    return std::inner_product(m.row(i).begin(), m.row(i).end(), m.row(j).begin(), 0.0);
  };
  for (int sweep = 0; sweep < 30; ++sweep) {
    double off = 0;
    for (size_t i = 0; i < m.rows(); ++i) {
      for (size_t j = i + 1; j < m.rows(); ++j) {
        const double p = dot(i, j), q = dot(i, i), r = dot(j, j);
        if (p == 0) continue;
        off = std::max(off, std::abs(p) / std::sqrt(q * r));
        const double angle = 0.5 * std::atan2(2 * p, q - r);
        const double c = std::cos(angle), s = std::sin(angle);
        for (size_t k = 0; k < m.cols(); ++k) {
          const double u = m(i, k), v = m(j, k);
          m(i, k) = c * u + s * v;
          m(j, k) = c * v - s * u;
        }
      }
    }
    if (off < 1e-14) break;
  }
  std::vector<double> values;
  for (size_t i = 0; i < m.rows(); ++i) values.push_back(std::sqrt(dot(i, i)));
  std::sort(values.rbegin(), values.rend());
  values.resize(std::min(a.rows, a.cols));
  return values;
}

// OpenBLAS has kernels of their own for small products, and edges for each size of block: some
// releases computed nonsense there on one kind of processor. Views with gaps between rows.
TEST(GemmInDouble, SmallAndOddShapesEqualPlainProducts) {
  Random random(4);
  for (int trial = 0; trial < 600; ++trial) {
    const auto side = [&] { return 1 + random.below(trial % 10 == 0 ? 150 : 36); };
    const size_t n = side(), k = side(), m = side();
    const Trans ta = trial & 1 ? Trans::yes : Trans::no, tb = trial & 2 ? Trans::yes : Trans::no;
    const auto matrix = [&](size_t rows, size_t cols) {
      Matrix<double> made(rows, cols + trial % 3);
      for (double& x : made.flat()) x = random.normal();
      return made;
    };
    const Matrix<double> a = ta == Trans::no ? matrix(n, k) : matrix(k, n);
    const Matrix<double> b = tb == Trans::no ? matrix(k, m) : matrix(m, k);
    Matrix<double> c = matrix(n, m);
    const auto wide_a = a.view().col_range(0, ta == Trans::no ? k : n);
    const auto wide_b = b.view().col_range(0, tb == Trans::no ? m : k);
    const Matrix<double> product =
        plain_product(transposed_if(ta, wide_a), transposed_if(tb, wide_b));
    const double beta = double(trial % 5) / 4;
    Matrix<double> wanted = transposed_if(Trans::no, c.view());
    for (size_t r = 0; r < n; ++r) {
      for (size_t col = 0; col < m; ++col) {
        wanted(r, col) = 1.5 * product(r, col) + beta * wanted(r, col);
      }
    }
    gemm(ta, tb, 1.5, wide_a, wide_b, beta, c.view().col_range(0, m));
    const std::vector<double> got(c.flat().begin(), c.flat().end());
    ASSERT_LT(largest_difference(got, wanted.flat()), 1e-12) << n << ' ' << k << ' ' << m;
  }
}

TEST(Statistics, MeansAndScatterEqualPlainSums) {
  for (size_t rows : {0, 1, 3, 127, 129, 1500}) {
    const auto x = noise(rows, 21, rows + 1), y = noise(rows, 9, rows + 2);
    const auto mx = column_means(x), my = column_means(y);
    Matrix<double> cx(rows, 21), cy(rows, 9);
    std::vector<double> plain(21);
    for (size_t r = 0; r < rows; ++r) {
      for (size_t c = 0; c < 21; ++c) plain[c] += x(r, c) / double(rows);
      for (size_t c = 0; c < 21; ++c) cx(r, c) = x(r, c) - mx[c];
      for (size_t c = 0; c < 9; ++c) cy(r, c) = y(r, c) - my[c];
    }
    EXPECT_LT(largest_difference(mx, plain), 1e-14);
    double squares = 0;
    for (double v : cx.flat()) squares += v * v / double(rows * 21);
    EXPECT_NEAR(rms_about_mean(x), std::sqrt(squares), 1e-12);
    const auto xt = transposed_if(Trans::yes, cx.view());
    EXPECT_LT(largest_difference(scatter(x, mx).flat(), plain_product(xt, cx).flat()), 1e-10);
    EXPECT_LT(largest_difference(cross_scatter(x, mx, y, my).flat(), plain_product(xt, cy).flat()),
              1e-10);
  }
}

TEST(Statistics, FastSumsKeepSmallEigenvalues) {
  const auto x = coloured(3000, 128, 1e-6, 8);
  const auto mean = column_means(x);
  const auto exact = symmetric_eigen(scatter(x, mean)).value();
  const auto fast = symmetric_eigen(scatter(x, mean, Sums::fast)).value();
  double worst = 0;
  for (size_t i = 0; i < 128; ++i) {
    worst = std::max(worst, std::abs(fast.values[i] / exact.values[i] - 1));
  }
  EXPECT_LT(worst, 3e-3);
  EXPECT_GT(worst, 1e-9);  // they are different sums
}

TEST(Statistics, WideScatterIsCutIntoStripsOfColumns) {
  const auto x = noise(40, 1100, 5);
  const Matrix<double> d = transposed_if(Trans::no, x.view());
  const auto wanted = plain_product(transposed_if(Trans::yes, x.view()), d);
  EXPECT_LT(largest_difference(scatter(x, {}).flat(), wanted.flat()), 1e-12);
  EXPECT_LT(largest_difference(scatter(x, {}, Sums::fast).flat(), wanted.flat()), 1e-4);
  EXPECT_LT(largest_difference(cross_scatter(x, {}, x, {}).flat(), wanted.flat()), 1e-12);
}

TEST(Statistics, DoNotDependOnTheNumberOfThreads) {
  const auto x = coloured(3000, 96, 1e-6, 3);
  const int before = thread_count();
  set_thread_count(1);
  const auto means = column_means(x);
  const auto one = scatter(x, means);
  const auto eigen = symmetric_eigen(one).value();
  const auto svd = thin_svd(x).value();
  Matrix<float> product(3000, 96);
  gemm(Trans::no, Trans::no, 1.f, x, svd.vt, 0.f, product);
  set_thread_count(2);
  EXPECT_EQ(column_means(x), means);
  EXPECT_EQ(scatter(x, means), one);
  for (int i = 0; i < 50; ++i) ASSERT_EQ(symmetric_eigen(one)->vectors, eigen.vectors);
  EXPECT_EQ(thin_svd(x)->u, svd.u);
  Matrix<float> again(3000, 96);
  gemm(Trans::no, Trans::no, 1.f, x, svd.vt, 0.f, again);
  EXPECT_EQ(again, product);
  EXPECT_EQ(thread_count(), 2);
  set_thread_count(before);
}

TEST(SymmetricEigen, MatchesClosedFormOfThePathGraph) {
  const size_t n = 40;  // tridiagonal (-1, 2, -1): 2 - 2 cos(k pi / (n + 1))
  Matrix<double> a(n, n);
  for (size_t i = 0; i < n; ++i) {
    a(i, i) = 2;
    if (i + 1 < n) a(i, i + 1) = -1;  // upper triangle only
  }
  const auto eigen = symmetric_eigen(a).value();
  for (size_t i = 0; i < n; ++i) {
    EXPECT_NEAR(eigen.values[i], 2 - 2 * std::cos((n - i) * std::numbers::pi / (n + 1)), 1e-13);
    const auto v = eigen.vectors.row(i);
    const double largest = *std::max_element(v.begin(), v.end());
    const double smallest = *std::min_element(v.begin(), v.end());
    EXPECT_GE(largest, -smallest * (1 - 1e-12));
    EXPECT_NEAR(std::inner_product(v.begin(), v.end(), v.begin(), 0.0), 1, 1e-13);
  }
}

TEST(SymmetricEigen, VectorsRebuildTheMatrix) {
  for (size_t n : {1, 2, 5, 60, 192}) {
    const auto x = noise(2 * n, n, n);
    const auto a = scatter(x, {});
    auto eigen = symmetric_eigen(a).value();
    Matrix<double> scaled = eigen.vectors;
    for (size_t i = 0; i < n; ++i) {
      for (double& v : scaled.row(i)) v *= eigen.values[i];
      EXPECT_GE(eigen.values[i == 0 ? 0 : i - 1], eigen.values[i]);
    }
    Matrix<double> rebuilt(n, n);
    gemm(Trans::yes, Trans::no, 1.0, eigen.vectors, scaled, 0.0, rebuilt);
    EXPECT_LT(largest_difference(rebuilt.flat(), a.flat()), 1e-12 * eigen.values[0]);
  }
}

// Few vectors and many: the same values and subspace as of the whole, however values are spaced.
TEST(LeadingEigen, IsTheHeadOfTheWhole) {
  Matrix<double> ones(40, 40), tied(40, 40), halves = scatter(noise(80, 40, 3), {});
  for (size_t i = 0; i < 40; ++i) {
    ones(i, i) = 1;
    tied(i, i) = i < 12 ? 5 : 1;
    for (size_t j = 0; j < 20; ++j) {
      if (i >= 20) halves(i, j) = halves(j, i) = 0;
    }
  }
  for (const auto& a : {scatter(noise(300, 40, 1), {}), scatter(coloured(300, 40, 1e-9, 2), {}),
                        halves, ones, tied, Matrix<double>(40, 40)}) {
    const auto all = symmetric_eigen(a).value();
    for (size_t count : {1, 4, 10, 12, 40}) {
      const auto some = leading_eigen(a, count).value();
      ASSERT_EQ(some.values.size(), count);
      const double scale = all.values[0] + 1e-300;
      Matrix<double> product(count, count), turned(count, 40);
      gemm(Trans::no, Trans::yes, 1.0, some.vectors, some.vectors, 0.0, product);
      gemm(Trans::no, Trans::no, 1.0, some.vectors, a, 0.0, turned);
      for (size_t i = 0; i < count; ++i) {
        EXPECT_NEAR(some.values[i], all.values[i], 1e-13 * scale);
        for (size_t j = 0; j < count; ++j) EXPECT_NEAR(product(i, j), i == j, 1e-12);
        for (size_t c = 0; c < 40; ++c) {
          EXPECT_NEAR(turned(i, c), some.values[i] * some.vectors(i, c), 1e-12 * scale);
        }
        EXPECT_GE(*std::max_element(some.vectors.row(i).begin(), some.vectors.row(i).end()),
                  -(1 - 1e-12) *
                      *std::min_element(some.vectors.row(i).begin(), some.vectors.row(i).end()));
      }
    }
  }
}

TEST(LeadingEigen, RefusesWhatIsNotFiniteAndTakesEmpty) {
  Matrix<double> a(8, 8);
  EXPECT_TRUE(leading_eigen(a, 0)->values.empty());
  EXPECT_EQ(leading_eigen(a, 1)->values[0], 0);
  a(1, 2) = a(2, 1) = NAN;
  EXPECT_EQ(leading_eigen(a, 1).error().kind, ErrorKind::numeric);
}

// LAPACK writes to the reflectors while it applies them, so threads must not share them.
TEST(SymmetricEigen, ThreadsDoNotDisturbEachOther) {
  const auto a = scatter(coloured(600, 512, 1e-9, 3), {});
  const int threads = thread_count();
  set_thread_count(1);
  const auto expected = symmetric_eigen(a).value();
  set_thread_count(4);
  for (int repeat = 0; repeat < 12; ++repeat) {
    EXPECT_EQ(symmetric_eigen(a)->vectors, expected.vectors) << repeat;
  }
  set_thread_count(threads);
}

TEST(ThinSvd, MatchesJacobiAndRebuilds) {
  const size_t sizes[][2] = {{1, 1}, {7, 3}, {3, 7}, {60, 60}, {300, 64}, {20, 128}};
  for (const auto& [n, d] : sizes) {
    const auto a = coloured(n, d, 1e-4, n + d);
    const auto svd = thin_svd(a).value();
    const std::vector<double> got(svd.values.begin(), svd.values.end());
    const auto wanted = jacobi_singular_values(a);
    EXPECT_LT(largest_difference(got, wanted), 1e-5 * wanted[0]) << n << " x " << d;
    EXPECT_LT(largest_difference(singular_values(a).value(), wanted), 1e-12 * wanted[0]);
    Matrix<float> us = svd.u;
    for (size_t r = 0; r < n; ++r) {
      for (size_t i = 0; i < got.size(); ++i) us(r, i) *= svd.values[i];
    }
    Matrix<float> rebuilt = a;
    gemm(Trans::no, Trans::no, 1.f, us, svd.vt, -1.f, rebuilt);
    for (float x : rebuilt.flat()) EXPECT_LT(std::abs(x), 1e-5 * wanted[0]);
    for (size_t i = 0; i < got.size(); ++i) {
      const auto v = svd.vt.row(i);
      EXPECT_GE(*std::max_element(v.begin(), v.end()), -*std::min_element(v.begin(), v.end()));
    }
  }
}

TEST(LowRank, IsTheHeadOfTheThinSvd) {
  const size_t sizes[][2] = {{1, 1}, {300, 64}, {20, 128}, {500, 128}};
  for (const auto& size : sizes) {
    const size_t n = size[0], d = size[1];
    const auto a = coloured(n, d, 1e-4, n * d);
    const size_t rank = (std::min(n, d) + 1) / 2;
    const auto full = thin_svd(a).value();
    const auto part = codec::low_rank(a, rank).value();
    Matrix<float> difference(n, d);
    const auto add_product = [&](const auto& svd, float sign) {
      Matrix<float> us(n, rank);
      for (size_t r = 0; r < n; ++r) {
        for (size_t i = 0; i < rank; ++i) us(r, i) = svd.u(r, i) * svd.values[i];
      }
      gemm(Trans::no, Trans::no, sign, us, svd.vt.view().row_range(0, rank), 1.f, difference);
    };
    add_product(full, 1);
    add_product(part, -1);
    for (size_t i = 0; i < rank; ++i) {
      EXPECT_NEAR(part.values[i], full.values[i], 1e-5 * full.values[0]);
    }
    for (float x : difference.flat()) EXPECT_LT(std::abs(x), 1e-4 * full.values[0]);
  }
  EXPECT_EQ(codec::low_rank(Matrix<float>(5, 3), 2)->u,
            Matrix<float>(5, 2));  // zeros have no direction
}

TEST(ThinSvd, RefusesWhatIsNotFiniteAndTakesEmpty) {
  Matrix<float> a(3, 3);
  a(1, 1) = std::numeric_limits<float>::infinity();
  EXPECT_FALSE(thin_svd(a).ok());
  EXPECT_FALSE(singular_values(a).ok());
  EXPECT_TRUE(thin_svd(Matrix<float>(0, 3)).ok());
  Matrix<double> e(2, 2);
  e(0, 1) = std::numeric_limits<double>::quiet_NaN();
  EXPECT_FALSE(symmetric_eigen(e).ok());
  EXPECT_TRUE(symmetric_eigen(Matrix<double>()).ok());
}

TEST(SolveSpd, ReturnsWhatWasMultiplied) {
  const size_t n = 70, m = 300;
  const auto a = scatter(noise(200, n, 1), {});
  const auto x = transposed_if(Trans::no, noise(n, m, 2).view());
  EXPECT_LT(largest_difference(solve_spd(a, plain_product(a, x))->flat(), x.flat()), 1e-11);
}

TEST(SolveSpd, RefusesIndefiniteMatrices) {
  Matrix<double> a(2, 2);
  a(0, 0) = 1, a(1, 1) = -1;
  const auto solved = solve_spd(a, Matrix<double>(2, 1));
  ASSERT_FALSE(solved.ok());
  EXPECT_EQ(solved.error().kind, ErrorKind::numeric);
  EXPECT_NE(solved.error().message.find("at row 1"), std::string::npos);
}

// What linalg/ computes for decoders without LAPACK.
TEST(InverseSpd, IsWhatLapackFinds) {
  const auto a = scatter(noise(500, 64, 1), {});
  Matrix<double> one(64, 64);
  for (size_t i = 0; i < 64; ++i) one(i, i) = 1;
  EXPECT_LT(largest_difference(inverse_spd(a)->flat(), solve_spd(a, one)->flat()), 1e-14);
}

TEST(Cholesky, OfFloatsIsThatOfDoubles) {
  Matrix<double> a = scatter(noise(900, 200, 1), {});
  for (double& v : a.flat()) v /= 900;
  Matrix<float> rounded(200, 200);
  for (size_t i = 0; i < a.size(); ++i) {
    rounded.flat()[i] = static_cast<float>(a.flat()[i]);
    a.flat()[i] = rounded.flat()[i];
  }
  const Matrix<float> got = cholesky(rounded).value();
  const std::vector<double> wide(got.flat().begin(), got.flat().end());
  EXPECT_LT(largest_difference(wide, cholesky(a)->flat()), 1e-5);
}

}  // namespace
}  // namespace kvsplice
