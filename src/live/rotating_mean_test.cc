#include "live/rotating_mean.h"

#include <gtest/gtest.h>

#include <cmath>

#include "core/relative_error_test.h"
#include "linalg/matrices_test.h"
#include "simd/target.h"

namespace kvsplice::live {
namespace {

constexpr size_t kDim = 10, kHeads = 3, kAsked = 2;

// Pairs in the middle of a head whose size is no multiple of four.
Rope rope() {
  Rope made;
  made.first = 2;
  made.frequency = {1, 0.1f, 0.003f};
  made.magnitude = 1.5f;
  return made;
}

TEST(RotatingMean, IsTheMeanTurnedToItsPosition) {
  Matrix<float> mean = noise(1, kHeads * kDim, 1);
  mean(0, kDim) = 0;  // a column that is nothing and does not turn
  const RotatingMean rotating(rope(), mean.flat(), kDim);
  for (size_t start : {0, 5, 70000}) {
    const Matrix<float> got = rotating.of_group(start);
    ASSERT_EQ(got.rows(), kHeads * kDim);
    for (size_t t : {0, 1, 100, 255}) {
      Matrix<float> wanted = mean;
      const int32_t position = int32_t(start + t);
      rope().apply(wanted, kDim, {&position, 1});
      double largest = 0;
      for (size_t c = 0; c < wanted.cols(); ++c) {
        largest = std::max(largest, std::abs(double(got(c, t)) - wanted(0, c)));
      }
      EXPECT_LT(largest, 0.04) << start << " " << t;
      EXPECT_GT(largest, 1e-4) << "no rounding took place";
    }
  }
}

TEST(RotatingMean, ProductsAreOfWhatIsTakenFromRows) {
  const Matrix<float> mean = noise(1, kHeads * kDim, 1);
  const Matrix<float> queries = noise(kHeads * kAsked, kDim, 2);
  const RotatingMean rotating(rope(), mean.flat(), kDim);
  const size_t start = 777;
  const Matrix<float> rows = rotating.of_group(start + 2 * RotatingMean::kPositions);
  Matrix<float> wanted(queries.rows(), RotatingMean::kPositions);
  for (size_t r = 0; r < wanted.rows(); ++r) {
    for (size_t t = 0; t < wanted.cols(); ++t) {
      double sum = 0;
      for (size_t c = 0; c < kDim; ++c) {
        sum += double(queries(r, c)) * rows(r / kAsked * kDim + c, t);
      }
      wanted(r, t) = float(sum);
    }
  }
  Matrix<float> turned = rotating.turned(queries, start);
  for (size_t i = 0; i < 2; ++i) rotating.turn_on(turned);
  for_each_simd_target([&](const std::string& name) {
    Matrix<float> got(wanted.rows(), wanted.cols());
    rotating.products(turned, got);
    EXPECT_LT(relative_error(got.flat(), wanted.flat()), 2e-4) << name;
  });
}

}  // namespace
}  // namespace kvsplice::live
