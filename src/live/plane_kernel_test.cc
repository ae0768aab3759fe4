// Every level of instructions makes what the reference makes.
#include "live/plane_kernel.h"

#include <gmock/gmock.h>

#include <algorithm>
#include <array>
#include <numeric>
#include <vector>

#include "core/random.h"
#include "linalg/byte_product_kernel.h"
#include "simd/target.h"

namespace kvsplice::plane_kernel {
namespace {

using ::testing::FloatNear;
using ::testing::Pointwise;

struct Case {
  explicit Case(size_t count) {
    Random random(count);
    size_t places = 0, bytes = kReadable;
    for (size_t c = 0; c < count; ++c) {
      widths.push_back(uint8_t(1 + (c + count) % 6));
      places += table_size(widths.back());
      bytes += widths.back() * kPlane;
    }
    levels.resize(places);
    for (int8_t& v : levels) v = int8_t(int(random.below(255)) - 127);
    planes.resize(bytes);
    for (uint8_t& v : planes) v = uint8_t(random.below(256));
  }
  Columns columns() const { return {widths.size(), widths.data(), levels.data()}; }

  std::vector<uint8_t> widths, planes;
  std::vector<int8_t> levels;
};

TEST(PlaneKernel, EveryTargetMakesWhatTheReferenceMakes) {
  for (size_t count : {1, 6, 16, 63, 64, 191}) {
    const Case c(count);
    std::vector<int8_t> wanted(count * kRows);
    const size_t weights = (count + 15) / 16 * 16 * kRows;
    std::vector<uint8_t> by_token(weights, 7), by_column(weights, 7);
    reference::decode(c.columns(), c.planes.data(), wanted.data());
    reference::decode_by_token(c.columns(), c.planes.data(), by_token.data());
    reference::decode_by_column(c.columns(), c.planes.data(), by_column.data());
    for_each_simd_target([&](const std::string& name) {
      std::vector<int8_t> levels(count * kRows);
      decode(c.columns(), c.planes.data(), levels.data());
      EXPECT_EQ(levels, wanted) << name;
      std::vector<uint8_t> got(weights, 7);
      decode_by_token(c.columns(), c.planes.data(), got.data());
      EXPECT_EQ(got, by_token) << name << " " << count;
      got.assign(weights, 7);
      decode_by_column(c.columns(), c.planes.data(), got.data());
      EXPECT_EQ(got, by_column) << name << " " << count;
    });
  }
}

// As weights of a product they give sums over columns, and over tokens.
TEST(PlaneKernel, LevelsAreWeightsOfProducts) {
  constexpr size_t kCount = 22, kQuads = (kCount + 3) / 4;
  const Case c(kCount);
  std::vector<int8_t> levels(kCount * kRows);
  decode(c.columns(), c.planes.data(), levels.data());
  std::vector<uint8_t> weights(32 * kRows, kLevelZero);
  std::vector<int8_t> row(kRows);
  for (size_t i = 0; i < kRows; ++i) row[i] = int8_t(i % 7) - 3;
  const float scale = 0.5f;
  const std::vector<float> ones(kRows, 1.f);
  std::vector<float> got(kRows);

  decode_by_token(c.columns(), c.planes.data(), weights.data());
  std::fill(row.begin() + kCount, row.end(), int8_t{0});
  int32_t sum = std::accumulate(row.begin(), row.end(), 0);
  byte_product_kernel::multiply({1, kQuads, kRows, row.data(), kRows, weights.data(), &scale, &sum,
                                 ones.data(), got.data(), kRows});
  for (size_t t = 0; t < kRows; ++t) {
    int wanted = 0;
    for (size_t i = 0; i < kCount; ++i) wanted += row[i] * levels[i * kRows + t];
    EXPECT_EQ(got[reference::place_in_panels(t)], 0.5f * float(wanted)) << t;
  }

  decode_by_column(c.columns(), c.planes.data(), weights.data());
  for (size_t t = 0; t < kRows; ++t) row[t] = int8_t(t % 5);
  sum = std::accumulate(row.begin(), row.end(), 0);
  byte_product_kernel::multiply({1, kRows / 4, kCount, row.data(), kRows, weights.data(), &scale,
                                 &sum, ones.data(), got.data(), kRows});
  for (size_t i = 0; i < kCount; ++i) {
    int wanted = 0;
    for (size_t t = 0; t < kRows; ++t) wanted += row[t] * levels[i * kRows + t];
    EXPECT_EQ(got[i], 0.5f * float(wanted)) << i;
  }
}

TEST(PlaneKernel, WeightsAreThoseOfTheReference) {
  Random random(1);
  for (size_t n : {1, 15, 64, 203}) {
    std::vector<float> values(n);
    for (float& v : values) v = float(random.normal());
    values[n / 2] = -INFINITY;
    const float peak = std::max(0.f, *std::max_element(values.begin(), values.end()));
    std::vector<float> wanted = values;
    const float sum = reference::to_weights(wanted.data(), n, peak);
    for_each_simd_target([&](const std::string& name) {
      std::vector<float> got = values;
      EXPECT_NEAR(to_weights(got.data(), n, peak), sum, 1e-4f * float(n)) << name;
      EXPECT_THAT(got, Pointwise(FloatNear(1e-5f), wanted)) << name;
    });
  }
}

TEST(PlaneKernel, TheLargestIsFoundWhereverItIs) {
  for (size_t n : {1, 15, 16, 64, 203}) {
    for (size_t at : {size_t{0}, n / 2, n - 1}) {
      std::vector<float> values(n, -3);
      values[at] = -2;
      for_each_simd_target(
          [&](const std::string& name) { EXPECT_EQ(largest(values.data(), n), -2) << name; });
    }
  }
}

// Rows of 37 halves that stand 50 apart, asked by more rows than share what is read.
TEST(PlaneKernel, ExactRowsAreAskedAndAddedAsByTheReference) {
  constexpr size_t kDim = 37, kStep = 50, kExact = 11;
  Random random(4);
  const auto draw = [&](size_t n) {
    std::vector<float> values(n);
    for (float& v : values) v = float(random.normal());
    return values;
  };
  std::vector<uint16_t> halves;
  for (float v : draw(kExact * kStep)) halves.push_back(to_half(v));
  halves.resize((kExact - 1) * kStep + kDim);  // nothing is read behind the last
  const HalfRows rows{halves.data(), kExact, kStep, kDim};
  for (size_t count : {1, 3, 4, 10}) {
    const auto a = draw(count * kDim), weights = draw(count * kExact), before = draw(count * kDim);
    std::vector<float> scores(count * kExact), sums = before;
    reference::ask_rows(rows, a.data(), count, scores.data());
    reference::add_rows(rows, weights.data(), count, sums.data());
    for_each_simd_target([&](const std::string& name) {
      std::vector<float> got(scores.size()), added = before;
      ask_rows(rows, a.data(), count, got.data());
      add_rows(rows, weights.data(), count, added.data());
      EXPECT_THAT(got, Pointwise(FloatNear(1e-4f), scores)) << name;
      EXPECT_THAT(added, Pointwise(FloatNear(1e-4f), sums)) << name;
    });
  }
}

TEST(PlaneKernel, SumsAreInTheOrderOfTheReference) {
  Random random(2);
  std::vector<float> products(kRows), others(256), wanted(kRows);
  for (auto* all : {&products, &others}) {
    for (float& v : *all) v = float(random.normal());
  }
  std::vector<uint8_t> order(kRows);
  for (uint8_t& v : order) v = uint8_t(random.below(256));
  reference::add_in_order(products.data(), others.data(), order.data(), 0.5f, wanted.data());
  for_each_simd_target([&](const std::string& name) {
    std::vector<float> got(kRows);
    add_in_order(products.data(), others.data(), order.data(), 0.5f, got.data());
    EXPECT_THAT(got, Pointwise(FloatNear(1e-6f), wanted)) << name;
  });
}

TEST(PlaneKernel, HalvesAreThoseOfIeee) {
  std::vector<uint16_t> halves;
  for (uint32_t bits = 0; bits < 0x7c00; bits += 37) {
    halves.push_back(uint16_t(bits));
    halves.push_back(uint16_t(bits | 0x8000));
  }
  std::vector<float> wanted(halves.size());
  reference::to_floats(halves.data(), halves.size(), wanted.data());
  for_each_simd_target([&](const std::string& name) {
    std::vector<float> got(halves.size());
    to_floats(halves.data(), halves.size(), got.data());
    EXPECT_EQ(got, wanted) << name;
  });
}

// By hand: codes 1, 0, 3 and 2, 0, ... of a column of two bits.
TEST(PlaneKernel, TheHighestBitStandsFirst) {
  const uint8_t width = 2;
  std::vector<int8_t> table(kSmallTable, 99);
  std::copy_n(std::array<int8_t, 4>{-7, 1, 5, 11}.begin(), 4, table.begin());
  std::vector<uint8_t> planes(2 * kPlane + kReadable);
  planes[0] = 0b1100, planes[kPlane] = 0b0101;
  int8_t got[kRows];
  decode({1, &width, table.data()}, planes.data(), got);
  const std::vector<int8_t> first(got, got + 5);
  EXPECT_EQ(first, (std::vector<int8_t>{1, -7, 11, 5, -7}));
}

}  // namespace
}  // namespace kvsplice::plane_kernel
