#include "linalg/small.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "core/random.h"
#include "core/threads.h"
#include "linalg/column_products_kernel.h"
#include "simd/target.h"

namespace kvsplice {
namespace {

template <class T>
Matrix<T> normals(Random& random, size_t rows, size_t cols) {
  Matrix<T> m(rows, cols);
  for (T& x : m.flat()) x = T(random.normal());
  return m;
}

// Sizes around those of a tile and of a vector; what lies around the outcome stays.
TEST(ColumnProductsKernel, AllTargetsAgreeWithTheReference) {
  for_each_simd_target([](const std::string& target) {
    Random random(7);
    for (size_t rows : {0, 1, 5, 33}) {
      for (size_t left : {1, 3, 4, 9}) {
        for (size_t right : {1, 2, 7, 8, 16, 17, 27}) {
          const auto x = normals<double>(random, rows, left + 2);
          const auto y = normals<double>(random, rows, right + 1);
          Matrix<double> out = normals<double>(random, left + 1, right + 3), wanted = out;
          const column_products_kernel::Columns a{x.data() + (rows > 0), left + 2, left};
          const column_products_kernel::Columns b{y.data(), right + 1, right};
          column_products_kernel::add(rows, a, b, -1, out.data(), right + 3);
          column_products_kernel::reference::add(rows, a, b, -1, wanted.data(), right + 3);
          for (size_t r = 0; r < out.rows(); ++r) {
            for (size_t c = 0; c < out.cols(); ++c) {
              ASSERT_NEAR(out(r, c), wanted(r, c), r < left && c < right ? 1e-13 : 0)
                  << target << ": " << rows << " rows, " << left << " x " << right;
            }
          }
        }
      }
    }
  });
}

TEST(ColumnProducts, AreTheSumsTheySay) {
  Random random(1);
  for (size_t rows : {0, 1, 64, 150}) {
    for (size_t columns : {1, 31, 32, 75}) {
      const auto x = normals<float>(random, rows, columns), y = normals<float>(random, rows, 9);
      const auto own = column_products(x), cross = column_products(x, y);
      for (size_t i = 0; i < columns; ++i) {
        for (size_t j = 0; j < columns; ++j) {
          double sum = 0;
          for (size_t r = 0; r < rows; ++r) sum += double(x(r, i)) * x(r, j);
          ASSERT_NEAR(own(i, j), sum, 1e-11);
        }
        for (size_t j = 0; j < 9; ++j) {
          double sum = 0;
          for (size_t r = 0; r < rows; ++r) sum += double(x(r, i)) * y(r, j);
          ASSERT_NEAR(cross(i, j), sum, 1e-11);
        }
      }
    }
  }
  EXPECT_TRUE(column_products(Matrix<float>(5, 0)).empty());
  EXPECT_TRUE(column_products(Matrix<float>(5, 3), Matrix<float>(5, 0)).empty());
}

TEST(ColumnProducts, DoNotDependOnTheNumberOfThreads) {
  Random random(2);
  const auto x = normals<float>(random, 200, 100);
  const int before = thread_count();
  set_thread_count(1);
  const auto alone = column_products(x);
  set_thread_count(3);
  EXPECT_EQ(column_products(x), alone);
  set_thread_count(before);
}

// a x is b again, over sizes around a block's, at every target.
TEST(SolveSpdSmall, Solves) {
  for_each_simd_target([](const std::string& target) {
    Random random(3);
    for (size_t n : {1, 2, 31, 32, 33, 100}) {
      const auto root = normals<float>(random, 2 * n, n);
      const Matrix<double> a = column_products(root);
      const auto b = normals<double>(random, n, 5);
      const auto x = solve_spd_small(a, b);
      ASSERT_TRUE(x.ok());
      for (size_t i = 0; i < n; ++i) {
        for (size_t c = 0; c < 5; ++c) {
          double sum = 0;
          for (size_t j = 0; j < n; ++j) sum += a(i, j) * (*x)(j, c);
          ASSERT_NEAR(sum, b(i, c), 1e-11) << target << " " << n;
        }
      }
    }
  });
  EXPECT_TRUE(solve_spd_small(Matrix<double>(), Matrix<double>(0, 4)).ok());
}

TEST(SolveSpdSmall, RefusesWhatIsNotDefiniteOrFinite) {
  Matrix<double> a(40, 40), b(40, 2);
  for (size_t i = 0; i < 40; ++i) a(i, i) = 1;
  ASSERT_TRUE(solve_spd_small(a, b).ok());
  for (const double bad : {-1.0, 0.0, std::numeric_limits<double>::quiet_NaN(),
                           std::numeric_limits<double>::infinity()}) {
    for (const size_t at : {size_t{0}, size_t{39}}) {
      auto worse = a;
      worse(at, at) = bad;
      ASSERT_FALSE(solve_spd_small(worse, b).ok()) << bad << " at " << at;
      EXPECT_EQ(solve_spd_small(worse, b).error().kind, ErrorKind::numeric);
    }
  }
  b(3, 1) = std::numeric_limits<double>::infinity();
  EXPECT_EQ(solve_spd_small(a, b).error().kind, ErrorKind::numeric);
}

}  // namespace
}  // namespace kvsplice
