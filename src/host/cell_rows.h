// Rows of a cache in the types llama.cpp keeps them in <-> floats. It turns heads by a Hadamard
// matrix before it quantises them; that is undone and done here.
#pragma once

#include <cstdint>
#include <span>

#include "core/shape.h"

namespace kvsplice::host {

// ggml's numbers of the types that are handled.
enum class CellType : int32_t { f32 = 0, f16 = 1, q8_0 = 8 };
const char* name(CellType type);
inline bool is_quantised(CellType type) { return type == CellType::q8_0; }
// Bytes of `width` values; error if the type is another, or does not divide the width.
Result<size_t> row_bytes(int32_t type, size_t width);

struct RowLayout {
  CellType type = CellType::f16;
  size_t width = 0;
  uint32_t turned = 0;  // side of the matrix; 0: not at all
};
// Error if the type is not handled or heads of the layer cannot be turned so.
Result<RowLayout> row_layout(int32_t type, const LayerShape& layer, Kind kind, uint32_t turned);

void decode_row(const uint8_t* from, const RowLayout& layout, std::span<float> row);
// Of values that are finite; `to` has room for the row's bytes.
void encode_row(std::span<float> row, const RowLayout& layout, uint8_t* to);

// What a cache of type q4_0 makes of a row of f16, in place: something to compare with. The width
// is a multiple of 32.
void through_q4_0(std::span<float> row, uint32_t turned);

}  // namespace kvsplice::host
