// A cell in two parts: the place of its bucket on a grid of multiples of 2^grid, and the bits that
// tell it from the other cells of that bucket. Buckets do not straddle powers of two, so that those
// bits are as many as the mantissa has left; only the two buckets at zero hold several exponents.
#pragma once

#include <algorithm>
#include <bit>
#include <cstdint>
#include <optional>

#include "core/bytes.h"

namespace kvsplice::codec::exact {

constexpr int kLeastGrid = -12, kLargestGrid = 14;

// Bits, the lowest of a byte first.
class BitWriter {
 public:
  // n <= 32
  void put(uint32_t value, int n) {
    held_ |= uint64_t{value} << count_;
    for (count_ += n; count_ >= 8; count_ -= 8, held_ >>= 8) {
      bytes_.push_back(static_cast<uint8_t>(held_));
    }
  }
  Bytes finish() {
    if (count_ > 0) bytes_.push_back(static_cast<uint8_t>(held_));
    return std::move(bytes_);
  }

 private:
  uint64_t held_ = 0;
  int count_ = 0;
  Bytes bytes_;
};

class BitReader {
 public:
  explicit BitReader(ByteSpan bytes) : bytes_(bytes) {}

  // n <= 32; zeros behind the end.
  uint32_t get(int n) {
    while (count_ < n) {
      held_ |= uint64_t{at_ < bytes_.size() ? bytes_[at_] : uint8_t{0}} << count_;
      ++at_;
      count_ += 8;
    }
    const auto value = static_cast<uint32_t>(held_ & ((uint64_t{1} << n) - 1));
    held_ >>= n;
    count_ -= n;
    return value;
  }
  // Every byte was used, and what is left of the last is zeros.
  bool at_end() const { return at_ == bytes_.size() && count_ < 8 && held_ == 0; }

 private:
  ByteSpan bytes_;
  size_t at_ = 0;
  uint64_t held_ = 0;
  int count_ = 0;
};

// half: finite. Returns the bucket: floor(|x| / 2^grid), or -1 less that for a cell with a sign.
inline int32_t put_cell(uint16_t half, int grid, BitWriter& bits) {
  const int field = half >> 10 & 31;
  const uint32_t fraction = half & 1023u;
  const uint32_t digits = field == 0 ? fraction : 1024 + fraction;
  const int below = grid - (std::max(field, 1) - 25);  // bits of digits under the grid
  const uint32_t bucket = below <= 0 ? digits << -below : digits >> std::min(below, 31);
  if (bucket > 0) {
    if (below > 0) bits.put(digits & ((1u << below) - 1), below);
  } else {
    const int zeros = grid + 14 - field;
    if (field == 0) {
      bits.put(0, zeros);
    } else {
      bits.put(1u << zeros, zeros + 1);
    }
    bits.put(fraction, 10);
  }
  return half >> 15 ? -1 - static_cast<int32_t>(bucket) : static_cast<int32_t>(bucket);
}

// Nothing if no finite cell is there.
inline std::optional<uint16_t> get_cell(int64_t place, int grid, BitReader& bits) {
  const uint16_t sign = place < 0 ? 0x8000u : 0;
  const int64_t wide = place < 0 ? -1 - place : place;
  if (wide >= int64_t{1} << 30) return std::nullopt;
  const auto bucket = static_cast<uint32_t>(wide);
  if (bucket == 0) {
    int field = grid + 14;
    while (field > 0 && bits.get(1) == 0) --field;
    return static_cast<uint16_t>(sign | field << 10 | bits.get(10));
  }
  const int top = 31 - std::countl_zero(bucket);
  const int below = 10 - top;
  const uint32_t digits = below > 0 ? bucket << below | bits.get(below) : bucket >> -below;
  const int field = top + grid + 15;
  if (field > 30) return std::nullopt;
  return static_cast<uint16_t>(sign | field << 10 | (digits & 1023u));
}

}  // namespace kvsplice::codec::exact
