#include "codec/packed_integers.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "core/random.h"

namespace kvsplice::codec {
namespace {

TEST(PackedIntegers, ComeBackAndTakeAboutTheirEntropy) {
  Random random(1);
  std::vector<float> values(40000);
  for (float& v : values)
    v = static_cast<float>(std::clamp(std::round(2 * random.normal()), -128., 127.));
  values[7] = -128;
  values[8] = 127;
  const State state = {{"codes", pack_integers(values)}};
  const double bits = 8 * double(state.at("codes").values.size()) / double(values.size());
  EXPECT_GT(bits, 3.04);  // entropy of a rounded Gaussian of deviation 2: 3.05 bits
  EXPECT_LT(bits, 3.2);
  const auto back = unpack_integers(state, "codes", values.size());
  ASSERT_TRUE(back.ok());
  EXPECT_EQ(*back, values);
}

TEST(PackedIntegers, OfNoneAndOfAnotherCount) {
  const State none = {{"codes", pack_integers({})}};
  EXPECT_TRUE(unpack_integers(none, "codes", 0).ok());
  EXPECT_FALSE(unpack_integers(none, "codes", 1).ok());
  EXPECT_FALSE(unpack_integers(none, "other", 0).ok());
  EXPECT_FALSE(unpack_integers(none, "codes", size_t{1} << 40).ok());
}

}  // namespace
}  // namespace kvsplice::codec
