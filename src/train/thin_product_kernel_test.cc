#include "train/thin_product_kernel.h"

#include <gtest/gtest.h>

#include "core/matrix.h"
#include "core/random.h"
#include "simd/target.h"

namespace kvsplice::train {
namespace {

Matrix<float> normals(Random& random, size_t rows, size_t cols) {
  Matrix<float> m(rows, cols);
  for (float& x : m.flat()) x = float(random.normal());
  return m;
}

// Sizes around those of a tile; what lies behind the outcome stays.
TEST(ThinProductKernel, AllTargetsAgreeWithTheReference) {
  for_each_simd_target([](const std::string& target) {
    Random random(7);
    for (size_t rows : {1, 3, 4, 9}) {
      for (size_t inner : {0, 1, 5}) {
        for (size_t cols : {1, 7, 8, 16, 17, 32, 45}) {
          const Matrix<float> a = normals(random, rows, inner), b = normals(random, inner, cols);
          const Matrix<float> start = normals(random, 1, cols);
          for (const float* from : {static_cast<const float*>(nullptr), start.data()}) {
            Matrix<float> out(rows + 1, cols), wanted(rows + 1, cols);
            thin_product_kernel::multiply(a.data(), b.data(), from, rows, inner, cols, out.data());
            thin_product_kernel::reference::multiply(a.data(), b.data(), from, rows, inner, cols,
                                                     wanted.data());
            for (size_t i = 0; i < out.size(); ++i) {
              ASSERT_NEAR(out.flat()[i], wanted.flat()[i], i < rows * cols ? 1e-5 : 0)
                  << target << " " << rows << " x " << inner << " x " << cols;
            }
          }
        }
      }
    }
  });
}

TEST(ThinProductKernel, ReferenceIsTheSumItSays) {
  const double a[] = {1, 2, 3, 4}, b[] = {5, 6, 7, 8}, start[] = {10, 20};
  double out[4];
  thin_product_kernel::multiply(a, b, start, 2, 2, 2, out);
  const double wanted[] = {10 + 19, 20 + 22, 10 + 43, 20 + 50};
  for (int i = 0; i < 4; ++i) EXPECT_EQ(out[i], wanted[i]);
}

}  // namespace
}  // namespace kvsplice::train
