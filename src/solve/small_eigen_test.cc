// The plain loops of linalg against LAPACK.
#include "linalg/small_eigen.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "core/random.h"
#include "solve/solve.h"

namespace kvsplice {
namespace {

// Sum over a few random directions, `ratio` between one and the next.
Matrix<double> symmetric(size_t n, size_t rank, double ratio, uint64_t seed) {
  Random random(seed);
  Matrix<double> a(n, n);
  double weight = 1;
  for (size_t k = 0; k < rank; ++k, weight *= ratio) {
    std::vector<double> v(n);
    for (double& x : v) x = random.normal();
    for (size_t i = 0; i < n; ++i) {
      for (size_t j = 0; j < n; ++j) a(i, j) += weight * v[i] * v[j];
    }
  }
  return a;
}

double farthest_from_unit(const Matrix<double>& vectors) {
  double worst = 0;
  for (size_t i = 0; i < vectors.rows(); ++i) {
    for (size_t j = 0; j <= i; ++j) {
      double dot = i == j ? -1 : 0;
      for (size_t c = 0; c < vectors.cols(); ++c) dot += vectors(i, c) * vectors(j, c);
      worst = std::max(worst, std::abs(dot));
    }
  }
  return worst;
}

// Of a v - value v, over all pairs.
double largest_residual(const Matrix<double>& a, const EigenPairs& pairs) {
  double worst = 0;
  for (size_t i = 0; i < a.rows(); ++i) {
    for (size_t r = 0; r < a.rows(); ++r) {
      double left = -pairs.values[i] * pairs.vectors(i, r);
      for (size_t c = 0; c < a.rows(); ++c) left += a(r, c) * pairs.vectors(i, c);
      worst = std::max(worst, std::abs(left));
    }
  }
  return worst;
}

void expect_as_lapack(const Matrix<double>& a, double vectors_within) {
  const EigenPairs got = small_eigen(a).value();
  const Eigen wanted = symmetric_eigen(a).value();
  const double peak = std::max(std::abs(wanted.values.front()), std::abs(wanted.values.back()));
  EXPECT_LT(farthest_from_unit(got.vectors), 1e-13);
  EXPECT_LE(largest_residual(a, got), 2e-14 * peak);
  for (size_t i = 0; i < a.rows(); ++i) {
    EXPECT_NEAR(got.values[i], wanted.values[i], 1e-14 * peak) << i;
    for (size_t c = 0; c < a.rows(); ++c) {
      EXPECT_NEAR(got.vectors(i, c), wanted.vectors(i, c), vectors_within) << i << ", " << c;
    }
  }
}

TEST(SmallEigen, AgreesWithLapack) {
  for (size_t n : {1, 2, 3, 8, 31, 64, 128}) {
    SCOPED_TRACE(n);
    expect_as_lapack(symmetric(n, 2 * n, 0.98, n), 1e-9);
  }
  Matrix<double> indefinite = symmetric(20, 40, 0.9, 7);
  for (size_t i = 0; i < 20; ++i) indefinite(i, i) -= 5;
  expect_as_lapack(indefinite, 1e-10);
}

TEST(SmallEigen, OfMatricesWithEqualEigenvaluesVectorsAreOrthonormal) {
  for (const Matrix<double>& a :
       {Matrix<double>(5, 5), symmetric(24, 3, 1, 1), symmetric(24, 24, 0.1, 2)}) {
    const EigenPairs pairs = small_eigen(a).value();
    const Eigen wanted = symmetric_eigen(a).value();
    const double peak = wanted.values.front();
    EXPECT_LT(farthest_from_unit(pairs.vectors), 1e-13);
    EXPECT_LE(largest_residual(a, pairs), 2e-14 * peak);
    for (size_t i = 0; i < a.rows(); ++i) {
      EXPECT_NEAR(pairs.values[i], wanted.values[i], 1e-14 * peak) << i;
    }
  }
}

TEST(SmallEigen, MagnitudesDoNotMatter) {
  Matrix<double> a = symmetric(9, 18, 0.9, 3);
  const EigenPairs plain = small_eigen(a).value();
  for (double scale : {0x1p-900, 0x1p900}) {
    Matrix<double> scaled = a;
    for (double& v : scaled.flat()) v *= scale;
    const EigenPairs pairs = small_eigen(scaled).value();
    EXPECT_EQ(pairs.vectors, plain.vectors);
    for (size_t i = 0; i < 9; ++i) EXPECT_EQ(pairs.values[i], plain.values[i] * scale);
  }
}

TEST(SmallEigen, ReadsTheLowerTriangleAndRefusesWhatIsNotFinite) {
  Matrix<double> a = symmetric(6, 12, 0.9, 4);
  const EigenPairs whole = small_eigen(a).value();
  a(1, 4) = std::numeric_limits<double>::quiet_NaN();
  EXPECT_EQ(small_eigen(a).value().values, whole.values);
  a(4, 1) = std::numeric_limits<double>::infinity();
  EXPECT_EQ(small_eigen(a).error().kind, ErrorKind::numeric);
  EXPECT_TRUE(small_eigen(Matrix<double>()).value().values.empty());
}

}  // namespace
}  // namespace kvsplice
