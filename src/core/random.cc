#include "core/random.h"

#include <array>
#include <bit>
#include <cmath>
#include <utility>

namespace kvsplice {

namespace {

__extension__ typedef unsigned __int128 uint128;

uint128 wide(uint64_t high, uint64_t low) { return uint128(high) << 64 | low; }

// SeedSequence: spreads the 32-bit words of a seed over a pool of four, then over any number of
// words of generator state.
class SeedSequence {
 public:
  explicit SeedSequence(uint64_t seed) {
    uint32_t multiplier = 0x43b0d7e5;
    auto hash = [&](uint32_t value) {
      value ^= multiplier;
      multiplier *= 0x931e8875;
      value *= multiplier;
      return value ^ value >> 16;
    };
    const std::array<uint32_t, 4> entropy = {uint32_t(seed), uint32_t(seed >> 32), 0, 0};
    for (size_t i = 0; i < pool_.size(); ++i) pool_[i] = hash(entropy[i]);
    for (size_t from = 0; from < pool_.size(); ++from) {
      for (size_t to = 0; to < pool_.size(); ++to) {
        if (from != to) pool_[to] = mix(pool_[to], hash(pool_[from]));
      }
    }
  }

  std::array<uint64_t, 4> state() const {
    std::array<uint64_t, 4> words{};
    uint32_t multiplier = 0x8b51f9dd;
    for (size_t i = 0; i < 8; ++i) {
      uint32_t value = pool_[i % pool_.size()] ^ multiplier;
      multiplier *= 0x58f38ded;
      value *= multiplier;
      value ^= value >> 16;
      words[i / 2] |= uint64_t(value) << 32 * (i % 2);
    }
    return words;
  }

 private:
  static uint32_t mix(uint32_t x, uint32_t y) {
    const uint32_t value = 0xca01f9dd * x - 0x4973f715 * y;
    return value ^ value >> 16;
  }

  std::array<uint32_t, 4> pool_;
};

// 256 layers of equal area under exp(-x^2 / 2); the lowest includes the tail beyond `edge`.
struct Ziggurat {
  static constexpr double edge = 3.6541528853610088;
  static constexpr double area = 0.0049286732339746519;
  static constexpr double mantissas = 0x1p52;

  std::array<uint64_t, 256> inside;  // mantissas below this lie under the curve for certain
  std::array<double, 256> width;     // of a layer, per mantissa
  std::array<double, 256> height;    // of the curve at a layer's right end

  // NumPy's tables to the bit: they come from this recurrence in double. Logarithms and
  // exponentials are taken in long double, so that rounding does not depend on the C library.
  Ziggurat() {
    double x = edge;
    height[255] = bell(x);
    width[255] = x / mantissas;
    inside[0] = whole(x * height[255] / area);
    width[0] = area / height[255] / mantissas;
    height[0] = 1;
    for (size_t i = 254; i > 0; --i) {
      const double next = std::sqrt(-2 * double(std::log((long double)(area / x + height[i + 1]))));
      inside[i + 1] = whole(next / x);
      width[i] = next / mantissas;
      height[i] = bell(next);
      if (i == 38) height[i] = std::nextafter(height[i], 1.0);  // rounded up in NumPy's table
      x = next;
    }
    inside[1] = 0;
  }

  static double bell(double x) { return double(std::exp((long double)(-0.5 * x * x))); }
  static uint64_t whole(double fraction) { return uint64_t(std::nearbyint(fraction * mantissas)); }
};

const Ziggurat& ziggurat() {
  static const Ziggurat tables;
  return tables;
}

}  // namespace

Random::Random(uint64_t seed) {
  const auto words = SeedSequence(seed).state();
  increment_ = wide(words[2], words[3]) << 1 | 1;
  next64();
  state_ += wide(words[0], words[1]);
  next64();
}

uint64_t Random::next64() {
  state_ = state_ * wide(2549297995355413924u, 4865540595714422341u) + increment_;
  const uint64_t folded = uint64_t(state_ >> 64) ^ uint64_t(state_);
  const int turn = int(state_ >> 122);
  return folded >> turn | folded << (-turn & 63);
}

uint32_t Random::next32() {
  if (std::exchange(has_spare_, false)) return spare_;
  const uint64_t both = next64();
  spare_ = uint32_t(both >> 32);
  has_spare_ = true;
  return uint32_t(both);
}

double Random::uniform() { return double(next64() >> 11) * 0x1p-53; }

double Random::normal() {
  const Ziggurat& z = ziggurat();
  for (;;) {
    const uint64_t bits = next64();
    const size_t layer = bits & 0xff;
    const bool negative = bits >> 8 & 1;
    const uint64_t mantissa = bits >> 9 & 0xfffffffffffff;
    const double x = double(mantissa) * z.width[layer];
    if (mantissa < z.inside[layer]) return negative ? -x : x;
    if (layer == 0) {  // the tail, with a sign of its own
      const bool tail_negative = mantissa >> 8 & 1;
      for (;;) {
        const double beyond = -(1 / Ziggurat::edge) * std::log1p(-uniform());
        const double y = -std::log1p(-uniform());
        if (y + y > beyond * beyond) {
          return tail_negative ? -(Ziggurat::edge + beyond) : Ziggurat::edge + beyond;
        }
      }
    }
    const double y = (z.height[layer - 1] - z.height[layer]) * uniform() + z.height[layer];
    if (y < std::exp(-0.5 * x * x)) return negative ? -x : x;
  }
}

// Lemire's multiplication with rejection; as NumPy, in 32 bits where the bound allows it.
uint64_t Random::below(uint64_t bound) {
  if (bound <= 1) return 0;
  if (bound <= uint64_t(1) << 32) {
    const uint64_t reject = (uint64_t(1) << 32) % bound;
    for (;;) {
      const uint64_t product = uint64_t(next32()) * bound;
      if (uint32_t(product) >= reject) return product >> 32;
    }
  }
  const uint64_t reject = -bound % bound;
  for (;;) {
    const uint128 product = uint128(next64()) * bound;
    if (uint64_t(product) >= reject) return uint64_t(product >> 64);
  }
}

void Random::shuffle(std::span<uint32_t> items) {
  for (size_t i = items.size(); i-- > 1;) {
    const uint32_t mask = uint32_t(std::bit_ceil(i + 1) - 1);  // NumPy draws masked bits here
    uint32_t j;
    do {
      j = next32() & mask;
    } while (j > i);
    std::swap(items[i], items[j]);
  }
}

}  // namespace kvsplice
