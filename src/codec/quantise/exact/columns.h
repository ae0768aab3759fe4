// The columns of a unit as the stage works on them: two by two, as small integers, keys turned back
// to what they were before rotary embedding. Integer arithmetic throughout.
#pragma once

#include <array>
#include <vector>

#include "codec/quantise/exact/weigh_kernel.h"
#include "codec/stage.h"

namespace kvsplice::codec::exact {

constexpr int kTurnBits = 14;  // of sines and cosines
constexpr size_t kNone = ~size_t{0};

// An angle in 2^-32 turns.
struct Turn {
  int32_t cosine = 1 << kTurnBits, sine = 0;
};
Turn turn_of(uint32_t angle);

struct Columns {
  struct Pair {
    size_t first = kNone, second = kNone;  // columns; the last pair may have one only
    size_t turn = 0;                       // index into `turns`
  };
  std::vector<Pair> pairs;
  std::vector<uint32_t> turns;  // angle per position; the first is 0, of pairs that do not turn

  Columns(std::span<const int> head_dims, const Rope& rope);
  explicit Columns(const Unit& unit) : Columns(unit.head_dims, unit.rope) {}
  size_t width() const { return 2 * pairs.size(); }
  bool turn() const { return turns.size() > 1; }
};

// The turns of tokens [first, first + n), at most a tile, [turns x kTile]. Positions are not looked
// at if no pair turns.
std::vector<Turn> turns_of(const Columns& columns, std::span<const int32_t> positions, size_t first,
                           size_t n);

// At most kTile rows as integers: floor(x 2^exponent + 1/2), turned back, within +-kLargestInput,
// two columns side by side as the kernel takes them.
void pair_to_tile(const Columns::Pair& pair, MatrixView<const float> cells, int exponent,
                  const Turn* turns, int16_t* tile);
// All pairs, with an exponent each; tokens behind the last row are zeros.
void to_tile(const Columns& columns, MatrixView<const float> cells, const int8_t* exponents,
             const std::vector<Turn>& turns, int16_t* tile);

}  // namespace kvsplice::codec::exact
