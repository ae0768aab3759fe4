#include "solve/qr.h"

#include <gtest/gtest.h>

#include <cmath>

#include "core/random.h"
#include "core/threads.h"
#include "solve/solve.h"

namespace kvsplice {
namespace {

TEST(Qr, ColumnsAreOrthonormalAndSpanTheMatrix) {
  Random random(1);
  Matrix<double> a(9, 4);
  for (double& x : a.flat()) x = random.normal();
  const Matrix<double> q = orthonormal_columns(a).value();
  Matrix<double> r(4, 4), back(9, 4), gram(4, 4);
  gemm(Trans::yes, Trans::no, 1.0, q, q, 0.0, gram);
  gemm(Trans::yes, Trans::no, 1.0, q, a, 0.0, r);
  gemm(Trans::no, Trans::no, 1.0, q, r, 0.0, back);
  for (size_t i = 0; i < 4; ++i) {
    for (size_t j = 0; j < 4; ++j) EXPECT_NEAR(gram(i, j), i == j, 1e-14);
    for (size_t j = 0; j < i; ++j) EXPECT_NEAR(r(i, j), 0, 1e-14);
  }
  // LAPACK's reflectors turn the sign of what they meet.
  EXPECT_LT(r(0, 0) * a(0, 0), 0);
  for (size_t i = 0; i < a.size(); ++i) EXPECT_NEAR(back.flat()[i], a.flat()[i], 1e-14);
}

TEST(Qr, IsTheSameOnAnyNumberOfThreads) {
  Random random(2);
  Matrix<double> a(144, 128);
  for (double& x : a.flat()) x = random.normal();
  const int before = thread_count();
  set_thread_count(1);
  const Matrix<double> one = orthonormal_columns(a).value();
  for (int threads : {2, 3, 4}) {
    set_thread_count(threads);
    EXPECT_EQ(orthonormal_columns(a).value(), one) << threads;
    EXPECT_EQ(thread_count(), threads);
  }
  set_thread_count(before);
}

TEST(Qr, ShapesAndValuesAreChecked) {
  EXPECT_FALSE(orthonormal_columns(Matrix<double>(2, 3)).ok());
  EXPECT_EQ(orthonormal_columns(Matrix<double>(3, 0))->size(), 0u);
  Matrix<double> a(2, 1);
  a(0, 0) = NAN;
  EXPECT_EQ(orthonormal_columns(a).error().kind, ErrorKind::numeric);
}

}  // namespace
}  // namespace kvsplice
