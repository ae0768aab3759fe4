#include "core/shape.h"

#include <gtest/gtest.h>

#include <cmath>
#include <complex>
#include <numeric>

#include "core/random.h"

namespace kvsplice {
namespace {

constexpr int head_dim = 8;

Matrix<float> random_rows(size_t rows, size_t cols) {
  Random random(1);
  Matrix<float> m(rows, cols);
  for (float& x : m.flat()) x = float(random.normal());
  return m;
}

Rope rope(Rope::Pairs pairs) { return {pairs, {1.0f, 0.1f, 0.01f, 0.001f}, 1.25f}; }

class RopePairs : public ::testing::TestWithParam<Rope::Pairs> {};
INSTANTIATE_TEST_SUITE_P(Both, RopePairs,
                         ::testing::Values(Rope::Pairs::adjacent, Rope::Pairs::halves));

// Each pair is a complex number, multiplied by magnitude * exp(i * position * frequency).
TEST_P(RopePairs, ApplyIsComplexMultiplication) {
  const Rope r = rope(GetParam());
  const std::vector<int32_t> positions = {0, 1, 70000};
  const Matrix<float> before = random_rows(3, 2 * head_dim);
  Matrix<float> after = before;
  r.apply(after, head_dim, positions);
  for (size_t row = 0; row < 3; ++row) {
    for (size_t head = 0; head < 2; ++head) {
      for (size_t i = 0; i < r.frequency.size(); ++i) {
        const bool adjacent = r.pairs == Rope::Pairs::adjacent;
        const size_t a = head * head_dim + (adjacent ? 2 * i : i);
        const size_t b = head * head_dim + (adjacent ? 2 * i + 1 : i + 4);
        const double angle = double(positions[row]) * double(r.frequency[i]);
        const auto expected =
            std::complex<double>(before(row, a), before(row, b)) * std::polar(1.25, angle);
        EXPECT_NEAR(after(row, a), expected.real(), 1e-5);
        EXPECT_NEAR(after(row, b), expected.imag(), 1e-5);
      }
    }
  }
}

TEST_P(RopePairs, UndoReversesApply) {
  const Rope r = rope(GetParam());
  const Matrix<float> before = random_rows(50, 3 * head_dim);
  std::vector<int32_t> positions(50);
  std::iota(positions.begin(), positions.end(), 100);
  Matrix<float> rows = before;
  r.apply(rows, head_dim, positions);
  EXPECT_NE(rows, before);
  r.undo(rows, head_dim, positions);
  for (size_t i = 0; i < rows.size(); ++i) EXPECT_NEAR(rows.flat()[i], before.flat()[i], 2e-6);
}

TEST(Rope, DimensionsBeyondThePairsStay) {
  Rope partial{Rope::Pairs::halves, {1.0f, 0.5f}, 1};  // turns the first 4 of 8
  const Matrix<float> before = random_rows(2, head_dim);
  Matrix<float> after = before;
  const std::vector<int32_t> positions = {3, 4};
  partial.apply(after, head_dim, positions);
  for (size_t c = 0; c < head_dim; ++c) EXPECT_EQ(after(1, c) != before(1, c), c < 4) << c;
}

TEST(Rope, WithoutFrequenciesNothingTurns) {
  const Matrix<float> before = random_rows(2, head_dim);
  Matrix<float> after = before;
  const std::vector<int32_t> positions = {3, 4};
  EXPECT_FALSE(Rope{}.rotates());
  Rope{}.apply(after, head_dim, positions);
  EXPECT_EQ(after, before);
}

TEST(ModelShape, BytesCountWindows) {
  LayerShape layer;
  layer.kv_heads = 3;
  layer.key_dim = 64;
  layer.value_dim = 32;
  ModelShape shape;
  shape.layers = {layer, layer};
  shape.layers[1].window = 10;
  EXPECT_EQ(shape.layers[0].width(Kind::key), 192);
  EXPECT_EQ(shape.layers[0].width(Kind::value), 96);
  EXPECT_EQ(shape.f16_bytes_per_token(), 2u * 2 * (192 + 96));
  EXPECT_EQ(shape.values_per_token(), 2u * (192 + 96));
  EXPECT_EQ(shape.f16_bytes(5), 5.0 * 4 * 288);
  EXPECT_EQ(shape.f16_bytes(100), 100.0 * 2 * 288 + 10.0 * 2 * 288);
  EXPECT_EQ(shape.tokens_out_of_sight(10), 0u);
  EXPECT_EQ(shape.tokens_out_of_sight(100), 90u);
  shape.layers.pop_back();
  EXPECT_EQ(shape.tokens_out_of_sight(100), 0u);
}

TEST(LayerShape, AWindowSlidesAndAChunkDoesNot) {
  LayerShape layer;
  EXPECT_EQ(layer.first_seen(1000), 0u);
  layer.window = 10;
  for (const auto& [position, first] :
       {std::pair<size_t, size_t>{0, 0}, {9, 0}, {10, 1}, {25, 16}}) {
    EXPECT_EQ(layer.first_seen(position), first) << position;
  }
  layer.chunked = true;
  for (const auto& [position, first] :
       {std::pair<size_t, size_t>{0, 0}, {9, 0}, {10, 10}, {25, 20}}) {
    EXPECT_EQ(layer.first_seen(position), first) << position;
  }
  ModelShape shape;
  shape.layers = {layer, LayerShape{}};
  EXPECT_EQ(shape.tokens_out_of_sight(0), 0u);
  EXPECT_EQ(shape.tokens_out_of_sight(10), 0u);
  EXPECT_EQ(shape.tokens_out_of_sight(11), 10u);
  EXPECT_EQ(shape.tokens_out_of_sight(20), 10u);
}

}  // namespace
}  // namespace kvsplice
