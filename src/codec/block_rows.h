// The rows of a block as units see them: taken out and put back, checked, and those of other layers
// that a unit may look at.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "codec/codec.h"

namespace kvsplice::codec {

// Without rows; a matrix for every layer.
CacheBlock empty_block(const ModelShape& shape, std::span<const int32_t> tokens,
                       std::span<const int32_t> positions);

// A unit's rows; joined layers stand side by side. Of calibration rows, one layer is read after the
// other.
Matrix<float> gather(const CacheBlock& block, const Unit& unit);
Result<Matrix<float>> read_unit(const RowSource& source, const Unit& unit, const ModelShape& shape);

// The way back of `gather`.
void scatter_to(Matrix<float> rows, const Unit& unit, const ModelShape& shape, CacheBlock& block);

// What a cache holds of rows: turned by their positions if they are keys, in f16.
void turn_to_cells(Matrix<float>& rows, const Unit& unit, std::span<const int32_t> positions);

// Whether the layers with a sliding window have no rows in a block of some tokens.
bool lacks_windows(const CacheBlock& block, const ModelShape& shape);

// Error numeric, naming the place, if a value is not finite.
Result<> check_finite(const Matrix<float>& rows, const std::string& where);
// Error usage if matrices do not fit the model's shape and the tokens; numeric as above.
Result<> check_block(const CacheBlock& block, const ModelShape& shape);

// Of the `depth` nearest layers below that are in every block this layer is in, nearest first; for
// values the keys of their layer come before them.
std::vector<Reconstruction> history_of(const Unit& unit, int depth, const ModelShape& shape,
                                       const CacheBlock& made);

// Frees reconstructions that no layer behind `layer` reads.
void drop_unread(int layer, int depth, const ModelShape& shape, CacheBlock& made);

}  // namespace kvsplice::codec
