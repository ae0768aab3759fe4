#include "codec/quantise/exact/columns.h"

#include <algorithm>
#include <cmath>
#include <numbers>

namespace kvsplice::codec::exact {

namespace {

constexpr int kTableBits = 10;  // cosines of a whole turn

// No entry is near the middle of two integers, so that any library's cosine rounds to the same.
const std::array<int32_t, (1 << kTableBits) + 1>& cosines() {
  static const auto table = [] {
    std::array<int32_t, (1 << kTableBits) + 1> made;
    for (size_t i = 0; i < made.size(); ++i) {
      const double angle = 2 * std::numbers::pi * double(i) / (1 << kTableBits);
      made[i] = static_cast<int32_t>(std::lround((1 << kTurnBits) * std::cos(angle)));
    }
    return made;
  }();
  return table;
}

int32_t cosine(uint32_t angle) {
  const size_t i = angle >> (32 - kTableBits);
  const auto between = static_cast<int32_t>(angle >> (32 - kTableBits - 14) & 0x3fff);
  const int32_t from = cosines()[i], to = cosines()[i + 1];
  return from + (((to - from) * between + (1 << 13)) >> 14);
}

// floor(x 2^exponent + 1/2), cut.
int32_t integer_of(float x, float scale) {
  const float v = std::floor(x * scale + 0.5f);
  return static_cast<int32_t>(std::clamp(v, -float(kLargestInput), float(kLargestInput)));
}

int16_t cut(int32_t v) {
  return static_cast<int16_t>(std::clamp(v, -kLargestInput, kLargestInput));
}

constexpr int32_t kHalf = 1 << (kTurnBits - 1);

}  // namespace

Turn turn_of(uint32_t angle) { return {cosine(angle), cosine(angle - (1u << 30))}; }

Columns::Columns(std::span<const int> head_dims, const Rope& rope) {
  turns.push_back(0);
  const size_t rotated = rope.frequency.size(), first = size_t(rope.first);
  for (float f : rope.frequency) {
    const double turn =
        std::fmod(double(f) * (4294967296.0 / (2 * std::numbers::pi)), 4294967296.0);
    turns.push_back(static_cast<uint32_t>(std::llround(turn)));
  }
  std::vector<size_t> rest;
  size_t head = 0;
  for (int dim : head_dims) {
    for (size_t i = 0; i < rotated; ++i) {
      const bool halves = rope.pairs == Rope::Pairs::halves;
      const size_t from = head + first;
      pairs.push_back(
          {from + (halves ? i : 2 * i), from + (halves ? i + rotated : 2 * i + 1), i + 1});
    }
    for (size_t c = 0; c < first; ++c) rest.push_back(head + c);
    for (size_t c = first + 2 * rotated; c < static_cast<size_t>(dim); ++c)
      rest.push_back(head + c);
    head += static_cast<size_t>(dim);
  }
  for (size_t i = 0; i < rest.size(); i += 2) {
    pairs.push_back({rest[i], i + 1 < rest.size() ? rest[i + 1] : kNone, 0});
  }
}

std::vector<Turn> turns_of(const Columns& columns, std::span<const int32_t> positions, size_t first,
                           size_t n) {
  std::vector<Turn> all(columns.turns.size() * kTile);
  for (size_t i = 1; i < columns.turns.size(); ++i) {
    for (size_t t = 0; t < n; ++t) {
      all[i * kTile + t] = turn_of(columns.turns[i] * static_cast<uint32_t>(positions[first + t]));
    }
  }
  return all;
}

void pair_to_tile(const Columns::Pair& pair, MatrixView<const float> cells, int exponent,
                  const Turn* turns, int16_t* tile) {
  const float scale = std::ldexp(1.f, exponent);
  for (size_t t = 0; t < cells.rows; ++t) {
    const int32_t a = integer_of(cells(t, pair.first), scale);
    const int32_t b = pair.second == kNone ? 0 : integer_of(cells(t, pair.second), scale);
    tile[2 * t] = cut((a * turns[t].cosine + b * turns[t].sine + kHalf) >> kTurnBits);
    tile[2 * t + 1] = cut((b * turns[t].cosine - a * turns[t].sine + kHalf) >> kTurnBits);
  }
}

void to_tile(const Columns& columns, MatrixView<const float> cells, const int8_t* exponents,
             const std::vector<Turn>& turns, int16_t* tile) {
  std::fill_n(tile, columns.width() * kTile, int16_t{0});
  for (size_t p = 0; p < columns.pairs.size(); ++p) {
    const Columns::Pair& pair = columns.pairs[p];
    pair_to_tile(pair, cells, exponents[p], &turns[pair.turn * kTile], tile + 2 * kTile * p);
  }
}

}  // namespace kvsplice::codec::exact
