// What stages check before they trust rows, fitted state or the layout of heads.
#pragma once

#include <string>
#include <vector>

#include "codec/stage.h"

namespace kvsplice::codec {

// For encoders: the columns are those the stage was fitted for.
Result<> check_fitted(const Rows& rows, size_t fitted_width);
// For quantisers: there is something to quantise.
Result<> check_some_columns(size_t width);
Result<> check_finite(MatrixView<const float> values);

// For decoders: rows.values, or rows.codes, are count x width.
Result<> check_values(const Rows& rows, size_t count, size_t width);
Result<> check_codes(const Rows& rows, size_t count, size_t width);

// For decoders of stages whose side data looks the same for any number of rows: it starts with that
// number, a varint, which must be the one asked for.
Result<> check_count(size_t count, ByteReader& side);

// For stages that work head by head: the columns are the unit's heads, as they were.
Result<> check_heads(const Unit& unit, size_t width);

// The array `name` of a loaded state. Error format if it is missing, has other dimensions or holds
// a value that is not finite; an extent of kAny fits every extent.
constexpr size_t kAny = ~size_t{0};
Result<const StateArray*> find_array(const State& state, const std::string& name,
                                     const std::vector<size_t>& dims);

}  // namespace kvsplice::codec
