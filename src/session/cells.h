// Rows of a cache as llama.cpp holds them: f16, keys after RoPE. What sessions take in and give
// back.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "codec/codec.h"

namespace kvsplice::session {

// The rows of tokens at positions first, first + 1, ... A layer with a sliding window may have rows
// of the newest tokens only.
struct Cells {
  size_t first = 0;
  size_t absent = 0;  // so many first cells have no rows in layers with a window: zeros stand there
  std::vector<int32_t> tokens;         // size n
  std::vector<Matrix<uint16_t>> keys;  // per layer [n x width], half precision
  std::vector<Matrix<uint16_t>> values;

  size_t count() const { return tokens.size(); }
  std::vector<Matrix<uint16_t>>& of(Kind kind) { return kind == Kind::key ? keys : values; }
  const std::vector<Matrix<uint16_t>>& of(Kind kind) const {
    return kind == Kind::key ? keys : values;
  }
};

// Every token must be one of the model's. (A shape without a vocabulary only tells that they are
// not negative.)
Result<> check_tokens(std::span<const int32_t> tokens, const ModelShape& shape);

// Layers of the right number and widths, tokens of the model; error usage otherwise.
Result<> check_cells(const Cells& cells, const ModelShape& shape);

// Where a value is.
struct CellPlace {
  Kind kind = Kind::key;
  int layer = 0;  // of the model
  size_t position = 0, column = 0;
};
std::string describe(const CellPlace& place);  // "value 3 of the keys of layer 0 at position 7"

// The first value that is infinite or not a number; rows that are absent are not looked at.
std::optional<CellPlace> first_not_finite(const Cells& cells, const ModelShape& shape);
// Error numeric that names it.
Result<> check_finite(const Cells& cells, const ModelShape& shape);

// The first position that the token at `position` sees in layers with a window.
size_t first_in_sight(const ModelShape& shape, size_t position);
// Error if the first `count` cells lack what the token behind them sees.
Result<> check_sight(const Cells& cells, size_t count, const ModelShape& shape);

// Zeros.
Cells make_cells(const ModelShape& shape, size_t first, size_t n);
// The n cells behind the first `from`.
Cells slice(const Cells& cells, size_t from, size_t n);
// Copies cells [from, from + n) of `part` to place `at` of `all`.
void put(Cells& all, size_t at, const Cells& part, size_t from, size_t n);

// As codecs see them: floats, keys turned back to what they were before RoPE; and the reverse, in
// which finite values stay finite. Of layers with a window either all cells are there or none.
codec::CacheBlock to_block(const Cells& cells, const ModelShape& shape);
Cells from_block(codec::CacheBlock block, const ModelShape& shape);

// As codecs of cells see them: floats, to the bit.
codec::CacheBlock to_cell_block(const Cells& cells, const ModelShape& shape);
Cells from_cell_block(const codec::CacheBlock& block, const ModelShape& shape);

}  // namespace kvsplice::session
