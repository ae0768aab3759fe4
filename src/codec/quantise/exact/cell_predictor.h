// A linear prediction in integers: of a unit's columns, two by two, from the units before it and
// from the pairs before it in the unit itself. See spec.md.
#pragma once

#include "codec/quantise/exact/columns.h"

namespace kvsplice::codec::exact {

constexpr int kExtraBits = 4;   // of predictions, behind the integers' own
constexpr int kScaleBits = 16;  // of scales, behind the point
constexpr int kLeastExponent = -16, kLargestExponent = 24;
constexpr int32_t kLargestScale = 1 << 24;  // what a float holds exactly
constexpr int32_t kLargestBias = 1 << 20;

// A unit whose rows are read or coded.
struct Side {
  Columns columns;
  MatrixView<const float> rows;
};

// Where cells are expected: in units of 2^-(exponent + kExtraBits), as the cache holds them.
using Expected = std::array<std::array<int64_t, kTile>, 2>;

class CellPredictor {
 public:
  // exponents: of the inputs' pairs, then of the unit's; weights: [2 pairs x 2 exponents]; scale,
  // bias: per row of them.
  CellPredictor(std::vector<int8_t> exponents, std::vector<int16_t> weights,
                std::vector<int32_t> scale, std::vector<int32_t> bias)
      : exponents_(std::move(exponents)),
        weights_(std::move(weights)),
        scale_(std::move(scale)),
        bias_(std::move(bias)) {}

  State save() const;
  // Checks shapes and that no sum can leave 32 bits.
  static Result<CellPredictor> load(const State& state, size_t width);

  size_t input_pairs() const { return exponents_.size() - pairs(); }
  size_t pairs() const { return scale_.size() / 2; }
  const int8_t* exponents() const { return exponents_.data() + input_pairs(); }  // the unit's
  int exponent(size_t pair) const { return exponents_[input_pairs() + pair]; }

  // The integers of a tile of tokens: those of all inputs, side by side.
  std::vector<int16_t> input_tile(const std::vector<Side>& inputs, size_t first, size_t count,
                                  std::span<const int32_t> positions) const;

  // Calls code(pair, expected) for each pair in order. When it returns, the pair's integers must
  // stand in `own`, the unit's tile. Turns are those of the unit.
  template <class Code>
  void for_pairs(const std::vector<int16_t>& inputs, const Columns& columns,
                 const std::vector<Turn>& turns, std::vector<int16_t>& own,
                 const Code& code) const {
    std::vector<int32_t> sums(2 * pairs() * kTile);
    weigh(inputs.data(), input_pairs(), weights_.data(), stride(), 2 * pairs(), sums.data());
    for (size_t p = 0; p < pairs(); ++p) {
      int32_t* two = &sums[2 * p * kTile];
      weigh(own.data(), p, &weights_[2 * p * stride() + 2 * input_pairs()], stride(), 2, two);
      code(p, expected(p, two, &turns[columns.pairs[p].turn * kTile]));
    }
  }

 private:
  size_t stride() const { return 2 * exponents_.size(); }
  Expected expected(size_t pair, const int32_t* sums, const Turn* turns) const;

  std::vector<int8_t> exponents_;
  std::vector<int16_t> weights_;
  std::vector<int32_t> scale_, bias_;
};

}  // namespace kvsplice::codec::exact
