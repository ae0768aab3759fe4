#include "codec/packed_integers.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "core/random.h"

namespace kvsplice::codec {
namespace {

TEST(PackedIntegers, ComeBackAndTakeAboutTheirEntropy) {
  Random random(1);
  std::vector<float> values(200001);  // the last row is not full
  for (float& v : values)
    v = static_cast<float>(std::clamp(std::round(2 * random.normal()), -128., 127.));
  values[7] = -128;
  values[8] = 127;
  const State state = {{"codes", pack_integers(values, 100)}};
  const double bits = 8 * double(state.at("codes").values.size()) / double(values.size());
  EXPECT_GT(bits, 3.04);  // entropy of a rounded Gaussian of deviation 2: 3.05 bits
  EXPECT_LT(bits, 3.2);
  const auto back = unpack_integers(state, "codes", values.size(), 100);
  ASSERT_TRUE(back.ok());
  EXPECT_TRUE(std::equal(values.begin(), values.end(), back->flat().begin()));
}

TEST(PackedIntegers, GainFromRowsOfUnequalLoudness) {
  constexpr size_t kColumns = 192;
  Random random(2);
  std::vector<float> values(400 * kColumns);
  double entropy = 0;  // of rounded Laplace variables, each of its row's scale
  for (size_t r = 0; r < 400; ++r) {
    const double scale = std::exp2(4 * random.uniform() - 2), q = std::exp(-1 / scale);
    for (size_t c = 0; c < kColumns; ++c) {
      const double x = std::round(-scale * std::log(1 - random.uniform()));
      values[r * kColumns + c] =
          static_cast<float>(std::min(x, 127.) * (random.below(2) == 0 ? 1 : -1));
    }
    const double zero = 1 - std::sqrt(q);
    entropy -= double(kColumns) * zero * std::log2(zero);
    for (int k = 1; k < 128; ++k) {
      const double p = std::exp(-(k - 0.5) / scale) * (1 - q);  // of both signs
      if (p > 0) entropy -= double(kColumns) * p * std::log2(p / 2);
    }
  }
  const double bits = 8 * double(pack_integers(values, kColumns).values.size());
  EXPECT_GT(bits, 0.99 * entropy);
  EXPECT_LT(bits, 1.06 * entropy);
}

TEST(PackedIntegers, OfNoneAndOfAnotherCount) {
  const State none = {{"codes", pack_integers({}, 3)}};
  EXPECT_TRUE(unpack_integers(none, "codes", 0, 3).ok());
  EXPECT_FALSE(unpack_integers(none, "codes", 1, 3).ok());
  EXPECT_FALSE(unpack_integers(none, "other", 0, 3).ok());
  EXPECT_FALSE(unpack_integers(none, "codes", size_t{1} << 40, 3).ok());
}

TEST(PackedIntegers, DamageIsRefusedOrGivesIntegers) {
  const std::vector<float> values = {1, -2, 3, 0, 0, 127, -128, 5, 0, 0, 0, 1};
  const StateArray good = pack_integers(values, 4);
  const auto read = [](const StateArray& array) {
    return unpack_integers({{"codes", array}}, "codes", 12, 4);
  };
  const auto same = read(good).value();
  ASSERT_TRUE(std::equal(values.begin(), values.end(), same.flat().begin(), same.flat().end()));
  for (size_t i = 0; i < good.values.size(); ++i) {
    StateArray cut = good;
    cut.values.resize(i);
    cut.dims = {i};
    EXPECT_FALSE(read(cut).ok()) << i;
    for (float wrong : {-128.f, 0.f, 127.f}) {
      StateArray damaged = good;
      damaged.values[i] = wrong;
      const auto got = read(damaged);
      if (!got.ok()) continue;
      for (int32_t v : got->flat()) EXPECT_LE(std::abs(v), 128);
    }
  }
}

}  // namespace
}  // namespace kvsplice::codec
