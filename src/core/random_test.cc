#include "core/random.h"

#include <gtest/gtest.h>

#include <bit>
#include <numeric>

// Every constant is what NumPy prints, with
//   g = np.random.default_rng(seed)
//   digest = lambda x: hex((x.view(np.uint64) * np.arange(1, x.size + 1, dtype=np.uint64)).sum())

namespace kvsplice {
namespace {

constexpr uint64_t largest_seed = ~uint64_t(0);

template <class Draw>
uint64_t digest_of_a_million(uint64_t seed, Draw draw) {
  Random random(seed);
  uint64_t digest = 0;
  for (uint64_t i = 1; i <= 1'000'000; ++i) digest += i * std::bit_cast<uint64_t>(draw(random));
  return digest;
}

TEST(Random, RawBits) {  // g.bit_generator.random_raw(3)
  const auto raw = [](uint64_t seed) {
    Random random(seed);
    std::vector<uint64_t> bits(3);
    for (auto& b : bits) b = random.next64();
    return bits;
  };
  using Bits = std::vector<uint64_t>;
  EXPECT_EQ(raw(0), (Bits{0xa30febcfd9c2825f, 0x4510bdf882d9d721, 0x0a7d3da94ecde8b8}));
  EXPECT_EQ(raw(13), (Bits{0xdd635fe9e55d34bc, 0xdaf51b09d1dad3ff, 0xcf9f3abe11cbccb9}));
  EXPECT_EQ(raw(largest_seed), (Bits{0xae163a7a8c47568f, 0xd86659f5f3382359, 0x01e52b195bc2d24a}));
}

TEST(Random, Uniform) {  // g.random(), digest(g.random(1_000_000))
  Random random(13);
  EXPECT_EQ(random.uniform(), 0x1.bac6bfd3caba6p-1);
  EXPECT_EQ(random.uniform(), 0x1.b5ea3613a3b5ap-1);
  const auto draw = [](Random& r) { return r.uniform(); };
  EXPECT_EQ(digest_of_a_million(0, draw), 0x27bedf1bb6c46eb0u);
  EXPECT_EQ(digest_of_a_million(13, draw), 0x73afcf4a69b77330u);
  EXPECT_EQ(digest_of_a_million(largest_seed, draw), 0x6445660900909e86u);
}

TEST(Random, Normal) {  // g.standard_normal(), digest(g.standard_normal(1_000_000))
  Random random(13);
  EXPECT_EQ(random.normal(), 0x1.d3a65162c545cp+0);
  EXPECT_EQ(random.normal(), -0x1.8a06c7b044526p+1);
  EXPECT_EQ(random.normal(), 0x1.ea875c82dac06p-1);
  // A million normals pass through every layer, the wedges and the tail (the largest is 4.79).
  const auto draw = [](Random& r) { return r.normal(); };
  EXPECT_EQ(digest_of_a_million(0, draw), 0xf56d8288f41eb5acu);
  EXPECT_EQ(digest_of_a_million(13, draw), 0x4194918dd99b675eu);
  EXPECT_EQ(digest_of_a_million(largest_seed, draw), 0x8ea13b6bf88966b1u);
}

TEST(Random, Below) {  // int(g.integers(0, bound)), seed 7, in this order
  Random random(7);
  EXPECT_EQ(random.below(10), 9u);
  EXPECT_EQ(random.below(10), 6u);
  EXPECT_EQ(random.below(10), 6u);
  EXPECT_EQ(random.below(uint64_t(1) << 32), 3853503932u);
  EXPECT_EQ(random.below(uint64_t(3) << 30), 1862810377u);
  EXPECT_EQ(random.below(uint64_t(1) << 40), 247617924053u);
  EXPECT_EQ(random.below(uint64_t(3) << 61), 2076408988992585337u);
}

TEST(Random, BelowOneDrawsNothing) {
  Random random(7), untouched(7);
  EXPECT_EQ(random.below(0), 0u);
  EXPECT_EQ(random.below(1), 0u);
  EXPECT_EQ(random.next64(), untouched.next64());
}

TEST(Random,
     Shuffle) {  // a = np.arange(10); g.shuffle(a), seed 5; and digest of np.arange(100_000)
  std::vector<uint32_t> few(10);
  std::iota(few.begin(), few.end(), 0);
  Random(5).shuffle(few);
  EXPECT_EQ(few, (std::vector<uint32_t>{7, 6, 1, 3, 2, 4, 0, 9, 5, 8}));

  std::vector<uint32_t> many(100'000);
  std::iota(many.begin(), many.end(), 0);
  Random(5).shuffle(many);
  uint64_t digest = 0;
  for (uint64_t i = 0; i < many.size(); ++i) digest += many[i] * (i + 1);
  EXPECT_EQ(digest, 0xe33564713a52u);

  std::vector<uint32_t> none;
  Random(5).shuffle(none);
}

}  // namespace
}  // namespace kvsplice
