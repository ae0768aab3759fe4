// The probability model of `range`, integers only: every machine derives the same tables and the
// same contexts. Columns are taken in groups of eight. What a group's magnitudes are expected to
// be, from calibration, from the rows before and from the groups before it in the row, selects one
// of 72 classes a quarter of an octave apart; a class is a table of symbol frequencies. See
// spec.md.
#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "core/matrix.h"
#include "kvsplice/result.h"

namespace kvsplice::range {

constexpr size_t kLanes = 8;  // columns of a group, and interleaved coder states
constexpr size_t kClasses = 72;
constexpr size_t kSymbols = 16;  // 0, -1, 1, ..., -7, 7, escape
constexpr int kEscape = 15;
constexpr int kTotalBits = 14;   // frequencies of a class sum to 2^14
constexpr int kFirstSplit = 38;  // classes from here on split off low bits
constexpr int kCostSteps = 8;    // costs are in 1/8 bit
constexpr int kLargestCost = kCostSteps * kTotalBits;
constexpr int kLargestWeight = 32;  // sixteenths
constexpr uint32_t kLargestMean = 1 << 24;

using Costs = std::array<uint8_t, kSymbols>;  // of a class, in 1/8 bit

// One class, laid out for the decoder.
struct alignas(16) ClassTable {
  std::array<uint32_t, kSymbols> threshold;  // first slot of each symbol
  std::array<uint16_t, kSymbols> start;      // the same
  std::array<uint16_t, kSymbols> frequency;
  int low_bits;  // coded apart, uniformly
};

// Error format if the costs leave the likeliest symbol nothing.
Result<ClassTable> make_table(const Costs& costs, size_t index);

inline int low_bits_of(size_t index) {
  const int above = static_cast<int>(index) - kFirstSplit;
  return above < 0 ? 0 : above / 4 + 1;
}

// Symbol 0 is quotient 0, then -1, 1, -2, 2, ...
inline int32_t quotient_of(int symbol) {
  const int32_t half = (symbol + 1) / 2;
  return symbol % 2 == 1 ? -half : half;
}
inline int symbol_of(int32_t quotient) {
  const uint32_t folded =
      static_cast<uint32_t>(quotient) << 1 ^ static_cast<uint32_t>(quotient >> 31);
  return static_cast<int>(std::min<uint32_t>(folded, kEscape));
}

constexpr int32_t kLargestMagnitude = 1 << 14;  // where magnitudes are cut in sums
inline uint32_t cut_magnitude(int32_t code) {
  return static_cast<uint32_t>(std::min(code < 0 ? -code : code, kLargestMagnitude));
}

// 16 times the logarithm to base 2, linear between powers of two. v >= 1.
inline int32_t log16(uint32_t v) {
  const int exponent = 31 - std::countl_zero(v);
  const uint32_t scaled = exponent >= 4 ? v >> (exponent - 4) : v << (4 - exponent);
  return 16 * exponent + static_cast<int32_t>(scaled) - 16;
}

inline size_t groups_of(size_t columns) { return (columns + kLanes - 1) / kLanes; }

// What calibration says of a unit.
struct Model {
  size_t columns = 0;
  std::vector<int32_t> centre;  // per column, subtracted from its codes; zeros fill the last group
  std::vector<uint32_t> mean;   // per group: 64 * expected sum of magnitudes, 1 ... kLargestMean
  int near_weight = 0;          // sixteenths: how much the groups before it in the row count,
  int past_weight = 0;          // and the rows before
  std::vector<ClassTable> classes;

  size_t groups() const { return mean.size(); }
};

// Follows a block row by row and names the class of every group. Encoder, decoder and calibration
// call it in the same way: begin_row, then class_of and push for each group in order, then end_row.
class Contexts {
 public:
  explicit Contexts(const Model& model);

  void begin_row();

  size_t class_of(size_t group) const {
    const int32_t near = log16(64 * near_ + kNearOffset);
    const int32_t level = (base_[group] + near_weight_ * near) >> 6;
    return static_cast<size_t>(std::clamp<int32_t>(level, 0, kClasses - 1));
  }

  // sum: of the group's cut magnitudes.
  void push(size_t group, uint32_t sum) {
    sums_[group] = sum;
    near_ += sum;
    if (group >= kNear) near_ -= sums_[group - kNear];
  }

  void end_row();

 private:
  static constexpr size_t kNear = 4;           // groups
  static constexpr uint32_t kNearOffset = 24;  // keep silence from meaning too much
  static constexpr uint32_t kPastOffset = 64;
  static constexpr int kPastBits = 4;  // half-life of about 11 rows

  const int32_t near_weight_, past_weight_;
  std::vector<int32_t> fixed_;  // what does not change from row to row
  std::vector<int32_t> base_;   // what does not change within the row
  std::vector<int64_t> past_;   // per group: 16 * 64 * sum of magnitudes, decaying
  std::vector<uint32_t> sums_;  // of this row
  uint32_t near_ = 0;           // sum over the kNear groups before
};

}  // namespace kvsplice::range
