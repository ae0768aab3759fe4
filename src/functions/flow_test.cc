#include "functions/flow.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <algorithm>
#include <cmath>

#include "core/random.h"

namespace kvsplice::functions {
namespace {

template <class T>
Matrix<T> normals(Random& random, size_t rows, size_t cols) {
  Matrix<T> m(rows, cols);
  for (T& x : m.flat()) x = T(random.normal());
  return m;
}

TEST(Flow, StartsAsAPermutation) {
  Random random(1);
  const Flow<float> flow = Flow<float>::create({12, 3, 16}, 4).value();
  const Matrix<float> x = normals<float>(random, 5, 12);
  Matrix<float> z(5, 12);
  flow.forward(x, z);
  EXPECT_NE(x, z);
  // Output column c is input column o[c], followed back through the blocks.
  for (size_t c = 0; c < 12; ++c) {
    size_t from = c;
    for (size_t b = 3; b-- > 0;) from = flow.permutations()[b * 12 + from];
    for (size_t r = 0; r < 5; ++r) EXPECT_EQ(z(r, c), x(r, from));
  }
}

TEST(Flow, WeightsFollowKaimingsRule) {
  const Flow<float> flow = Flow<float>::create({64, 1, 128}, 4).value();
  const auto first = flow.parameters().first(32 * 256);
  const double bound = std::sqrt(6 / (1.04 * 32));
  const auto [low, high] = std::minmax_element(first.begin(), first.end());
  EXPECT_LE(*high, bound);
  EXPECT_GE(*low, -bound);
  EXPECT_NEAR(*high, bound, 0.01 * bound);
  EXPECT_NEAR(*low, -bound, 0.01 * bound);
}

RC_GTEST_PROP(Flow, InverseUndoesForward, (uint64_t seed)) {
  Random random(seed);
  const FlowShape shape{2 * (1 + random.below(20)), 1 + random.below(4), 1 + random.below(24)};
  Flow<float> flow = Flow<float>::create(shape, seed).value();
  for (float& p : flow.parameters()) p += 0.2f * float(random.normal());
  const Matrix<float> x = normals<float>(random, 1 + random.below(300), shape.dim);
  Matrix<float> z(x.rows(), x.cols()), back(x.rows(), x.cols());
  flow.forward(x, z);
  flow.inverse(z, back);
  RC_ASSERT(z != x);
  float largest = 0, error = 0;
  for (size_t i = 0; i < x.size(); ++i) {
    largest = std::max(largest, std::abs(z.flat()[i]));
    error = std::max(error, std::abs(back.flat()[i] - x.flat()[i]));
  }
  RC_ASSERT(error <= 1e-4f * (1 + largest));
}

// One block by its definition, in plain loops.
TEST(Flow, CouplingIsWhatItsDefinitionSays) {
  constexpr size_t half = 2, hidden = 3;
  Random random(7);
  Flow<double> flow({2 * half, 1, hidden}, {0, 1, 2, 3});
  for (double& p : flow.parameters()) p = random.normal();
  const Matrix<double> x = normals<double>(random, 4, 2 * half);
  Matrix<double> z(4, 2 * half);
  flow.forward(x, z);
  const double* p = flow.parameters().data();
  const double *w1 = p, *b1 = w1 + half * 2 * hidden, *w2 = b1 + 2 * hidden;
  const double *b2 = w2 + 2 * hidden * hidden, *w3 = b2 + 2 * hidden, *b3 = w3 + 2 * hidden * half;
  const auto gelu = [](double u) { return u * 0.5 * (1 + std::erf(u / std::sqrt(2.0))); };
  for (size_t r = 0; r < 4; ++r) {
    double out[2][half];
    for (size_t net : {0, 1}) {
      double first[hidden], second[hidden];
      for (size_t j = 0; j < hidden; ++j) {
        double sum = b1[net * hidden + j];
        for (size_t i = 0; i < half; ++i) sum += x(r, i) * w1[i * 2 * hidden + net * hidden + j];
        first[j] = gelu(sum);
      }
      for (size_t j = 0; j < hidden; ++j) {
        double sum = b2[net * hidden + j];
        for (size_t i = 0; i < hidden; ++i) sum += first[i] * w2[(net * hidden + i) * hidden + j];
        second[j] = gelu(sum);
      }
      for (size_t j = 0; j < half; ++j) {
        out[net][j] = b3[net * half + j];
        for (size_t i = 0; i < hidden; ++i) {
          out[net][j] += second[i] * w3[(net * hidden + i) * half + j];
        }
      }
    }
    for (size_t c = 0; c < half; ++c) {
      EXPECT_EQ(z(r, c), x(r, c));
      EXPECT_NEAR(z(r, half + c), x(r, half + c) * std::exp(std::tanh(out[0][c])) + out[1][c],
                  1e-12);
    }
  }
}

TEST(Flow, OddWidthsAreRefused) {
  EXPECT_THAT(Flow<float>::create({7, 3, 8}, 0).error().message, ::testing::HasSubstr("7 columns"));
  EXPECT_FALSE(Flow<float>::create({0, 3, 8}, 0).ok());
}

}  // namespace
}  // namespace kvsplice::functions
