// Matrices for tests of linear algebra, and plain ways to what is tested.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "core/random.h"
#include "linalg/linalg.h"

namespace kvsplice {

inline Matrix<float> normals(Random& random, size_t rows, size_t cols) {
  Matrix<float> m(rows, cols);
  for (float& x : m.flat()) x = static_cast<float>(random.normal());
  return m;
}

inline Matrix<float> noise(size_t rows, size_t cols, uint64_t seed) {
  Random random(seed);
  return normals(random, rows, cols);
}

template <class T>
Matrix<double> transposed_if(Trans t, MatrixView<T> a) {
  Matrix<double> out(t == Trans::no ? a.rows : a.cols, t == Trans::no ? a.cols : a.rows);
  for (size_t r = 0; r < a.rows; ++r) {
    for (size_t c = 0; c < a.cols; ++c) (t == Trans::no ? out(r, c) : out(c, r)) = a(r, c);
  }
  return out;
}

inline Matrix<double> plain_product(const Matrix<double>& a, const Matrix<double>& b) {
  Matrix<double> out(a.rows(), b.cols());
  for (size_t r = 0; r < a.rows(); ++r) {
    for (size_t k = 0; k < a.cols(); ++k) {
      for (size_t c = 0; c < b.cols(); ++c) out(r, c) += a(r, k) * b(k, c);
    }
  }
  return out;
}

inline double largest_difference(std::span<const double> a, std::span<const double> b) {
  EXPECT_EQ(a.size(), b.size());
  double most = 0;
  for (size_t i = 0; i < a.size(); ++i) most = std::max(most, std::abs(a[i] - b[i]));
  return most;
}

}  // namespace kvsplice
