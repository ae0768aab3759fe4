// Every level of instructions makes what the reference makes.
#include "live/plane_kernel.h"

#include <gmock/gmock.h>

#include <algorithm>
#include <array>
#include <vector>

#include "core/random.h"
#include "simd/target.h"

namespace kvsplice::plane_kernel {
namespace {

using ::testing::FloatNear;
using ::testing::Pointwise;

struct Case {
  explicit Case(size_t count, size_t heads_) : heads(heads_) {
    Random random(count);
    for (size_t c = 0; c < count; ++c) widths.push_back(uint8_t(1 + (c + count) % 6));
    levels.resize(count * kLevels);
    for (int8_t& v : levels) v = int8_t(random.below(255));
    size_t bytes = kReadable;
    for (uint8_t width : widths) bytes += width * kPlane;
    planes.resize(bytes);
    for (uint8_t& v : planes) v = uint8_t(random.below(256));
    weights.resize(heads * std::max(count, kRows));
    for (float& v : weights) v = float(random.normal());
  }
  Columns columns() const { return {widths.size(), widths.data(), levels.data()}; }
  size_t count() const { return widths.size(); }

  size_t heads;
  std::vector<uint8_t> widths, planes;
  std::vector<int8_t> levels;
  std::vector<float> weights;
};

TEST(PlaneKernel, EveryTargetMakesWhatTheReferenceMakes) {
  for (size_t count : {1, 6, 64, 191}) {
    for (size_t heads : {1, 3, 4, 9}) {
      const Case c(count, heads);
      std::vector<int8_t> wanted(count * kRows);
      reference::decode(c.columns(), c.planes.data(), wanted.data());
      std::vector<float> scores(heads * kRows, 0.5f), sums(heads * (count + 1), 0.5f);
      reference::add_scores(wanted.data(), count, {c.weights.data(), count}, heads,
                            {scores.data(), kRows});
      reference::add_sums(wanted.data(), count, {c.weights.data(), kRows}, heads,
                          {sums.data(), count + 1});
      for_each_simd_target([&](const std::string& name) {
        std::vector<int8_t> levels(count * kRows);
        decode(c.columns(), c.planes.data(), levels.data());
        EXPECT_EQ(levels, wanted) << name;
        std::vector<float> s(heads * kRows, 0.5f), y(heads * (count + 1), 0.5f);
        add_scores(levels.data(), count, {c.weights.data(), count}, heads, {s.data(), kRows});
        add_sums(levels.data(), count, {c.weights.data(), kRows}, heads, {y.data(), count + 1});
        EXPECT_THAT(s, Pointwise(FloatNear(0.01f), scores)) << name << count << " " << heads;
        EXPECT_THAT(y, Pointwise(FloatNear(0.01f), sums)) << name << count << " " << heads;
      });
    }
  }
}

TEST(PlaneKernel, WeightsAndProductsAreThoseOfTheReference) {
  Random random(1);
  for (size_t n : {1, 15, 64, 203}) {
    std::vector<float> values(n), rows(n * kRows), scores(3 * kRows, 1.f), u(3 * n);
    for (auto* all : {&values, &rows, &u}) {
      for (float& v : *all) v = float(random.normal());
    }
    values[n / 2] = -INFINITY;
    const float peak = std::max(0.f, *std::max_element(values.begin(), values.end()));
    std::vector<float> wanted = values, wanted_scores = scores;
    const float sum = reference::to_weights(wanted.data(), n, peak);
    reference::add_products(rows.data(), n, {u.data(), n}, 3, {wanted_scores.data(), kRows});
    for_each_simd_target([&](const std::string& name) {
      std::vector<float> got = values, s = scores;
      EXPECT_NEAR(to_weights(got.data(), n, peak), sum, 1e-4f * float(n)) << name;
      EXPECT_THAT(got, Pointwise(FloatNear(1e-5f), wanted)) << name;
      add_products(rows.data(), n, {u.data(), n}, 3, {s.data(), kRows});
      EXPECT_THAT(s, Pointwise(FloatNear(1e-3f), wanted_scores)) << name;
    });
  }
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
  std::vector<int8_t> table(kLevels, 99);
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
