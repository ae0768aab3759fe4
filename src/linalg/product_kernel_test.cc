#include "linalg/product_kernel.h"

#include <gtest/gtest.h>

#include <cmath>

#include "linalg/matrices_test.h"
#include "simd/target.h"

namespace kvsplice::product_kernel {
namespace {

// A product of matrices with gaps behind their rows, transposed or not.
struct Example {
  size_t rows, inner, cols;
  bool a_across, b_across;
  float beta;
  Matrix<float> a, b, c;

  Example(Random& random, size_t n, size_t k, size_t m, int kind)
      : rows(n),
        inner(k),
        cols(m),
        a_across(kind & 1),
        b_across(kind & 2),
        beta(0.25f * (kind & 4)) {
    a = a_across ? normals(random, k, n + 3) : normals(random, n, k + 3);
    b = b_across ? normals(random, m, k + 2) : normals(random, k, m + 2);
    c = normals(random, n + 1, m + 5);
  }

  Product product(Matrix<float>& out) const {
    out = c;
    return {.rows = rows,
            .inner = inner,
            .cols = cols,
            .alpha = 1.5f,
            .a = {a.data(), a_across ? 1 : a.cols(), a_across ? a.cols() : 1},
            .b = {b.data(), b_across ? 1 : b.cols(), b_across ? b.cols() : 1},
            .beta = beta,
            .c = out.data(),
            .c_step = out.cols()};
  }

  double in_double(size_t r, size_t col) const {
    double sum = 0;
    for (size_t i = 0; i < inner; ++i) {
      sum += double(a_across ? a(i, r) : a(r, i)) * (b_across ? b(col, i) : b(i, col));
    }
    return 1.5 * sum + double(beta) * c(r, col);
  }

  // What lies behind the rows and columns of the product stays.
  void expect_near(const Matrix<float>& out, double tolerance, const std::string& of) const {
    for (size_t r = 0; r < c.rows(); ++r) {
      for (size_t col = 0; col < c.cols(); ++col) {
        const bool inside = r < rows && col < cols;
        ASSERT_NEAR(out(r, col), inside ? in_double(r, col) : c(r, col), inside ? tolerance : 0)
            << of << ": " << rows << " x " << inner << " x " << cols << " at " << r << ' ' << col;
      }
    }
  }
};

// Sizes around those of a tile, of a vector and of kInner; all transpositions, with c and without.
std::vector<Example> examples() {
  Random random(7);
  std::vector<Example> made;
  for (int kind = 0; kind < 8; ++kind) {
    for (size_t rows : {1, 5, 6, 12, 13, 24, 31}) {
      for (size_t cols : {1, 4, 7, 16, 17, 32, 45}) {
        for (size_t inner : {0, 1, 3, 4, 9}) made.emplace_back(random, rows, inner, cols, kind);
      }
    }
    for (size_t inner : {255, 256, 257, 600}) made.emplace_back(random, 27, inner, 50, kind);
  }
  return made;
}

TEST(ProductKernel, AllTargetsAndTheReferenceAreNearTheSumInDouble) {
  for (const Example& e : examples()) {
    const double tolerance = 2e-6 * std::sqrt(double(e.inner) + 1) * 4;
    Matrix<float> out;
    reference::multiply(e.product(out));
    e.expect_near(out, tolerance, "reference");
    for_each_simd_target([&](const std::string& target) {
      multiply(e.product(out));
      e.expect_near(out, tolerance, target);
    });
  }
}

// Values are chains of fused multiply-adds, whatever the vectors' width: streams written on one
// processor are read on another.
TEST(ProductKernel, TargetsThatFuseGiveTheReferencesBits) {
  for (const Example& e : examples()) {
    Matrix<float> wanted;
    reference::multiply(e.product(wanted));
    for_each_simd_target([&](const std::string& target) {
      // These round twice.
      if (target.starts_with("SS") || target.starts_with("EMU") || target == "SCALAR") return;
      Matrix<float> out;
      multiply(e.product(out));
      ASSERT_EQ(out, wanted) << target << ": " << e.rows << " x " << e.inner << " x " << e.cols;
    });
  }
}

TEST(ProductKernel, ZerosBehindTheReachArePassedOver) {
  for_each_simd_target([](const std::string& target) {
    Random random(3);
    for (size_t n : {1, 11, 40, 300}) {
      for (size_t reach : {0, 1, 5, 270}) {
        Example e(random, n, n, 37, 0);
        for (size_t r = 0; r < n; ++r) {
          for (size_t i = std::min(n, r + reach); i < n; ++i) e.a(r, i) = 0;
        }
        Matrix<float> all, some;
        multiply(e.product(all));
        Product product = e.product(some);
        product.reach = reach;
        multiply(product);
        ASSERT_EQ(some, all) << target << ' ' << n << ' ' << reach;
      }
    }
  });
}

TEST(ProductKernel, WithoutBetaNothingIsReadFromC) {
  for_each_simd_target([](const std::string& target) {
    Random random(5);
    for (size_t cols : {3, 32, 40}) {
      Example e(random, 14, 300, cols, 0);
      for (float& x : e.c.flat()) x = NAN;
      Matrix<float> out;
      multiply(e.product(out));
      for (size_t r = 0; r < e.rows; ++r) {
        for (size_t c = 0; c < cols; ++c) ASSERT_TRUE(std::isfinite(out(r, c))) << target;
      }
    }
  });
}

}  // namespace
}  // namespace kvsplice::product_kernel
