// Cells: rows of a cache as llama.cpp holds them, f16, keys after RoPE. What sessions give back and
// take in, rounded to f16 if need be, and what must hold of them.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "core/kv_block.h"

namespace kvsplice::session {

// Every token must be one of the model's. (A shape without a vocabulary only tells that they are
// not negative.)
Result<> check_tokens(std::span<const int32_t> tokens, const ModelShape& shape);

// Rows as caches hold them, layers of the right number and widths, positions without gaps,
// tokens of the model; error usage otherwise.
Result<> check_cells(const KvView& cells, const ModelShape& shape);
// Rows of other elements than f16 are rounded to it: error numeric at the first value that is
// infinite or not a number, or, where nothing may be lost, is no f16.
Result<> check_rounding(const KvView& cells, const ModelShape& shape, bool lossless);

// 0 if there are no cells.
inline size_t first_position(const KvView& cells) {
  return cells.count() > 0 ? static_cast<size_t>(cells.positions[0]) : 0;
}

// Where a value is.
struct CellPlace {
  Kind kind = Kind::key;
  int layer = 0;  // of the model
  size_t position = 0, column = 0;
};
std::string describe(const CellPlace& place);  // "value 3 of the keys of layer 0 at position 7"

// The first value that is infinite or not a number; rows that are absent are not looked at.
std::optional<CellPlace> first_not_finite(const KvView& cells, const ModelShape& shape);
// Error numeric that names it.
Result<> check_finite(const KvView& cells, const ModelShape& shape);

// The first position that the token at `position` sees in layers with a window.
size_t first_in_sight(const ModelShape& shape, size_t position);
// Error if the first `count` cells, of which `absent` are absent, lack what the token behind them
// sees.
Result<> check_sight(size_t absent, size_t count, const ModelShape& shape);

}  // namespace kvsplice::session
