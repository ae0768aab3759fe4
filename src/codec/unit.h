// Units of a codec: what one instance of a pipeline works on.
#pragma once

#include <string>
#include <vector>

#include "codec/pipeline.h"
#include "codec/stage.h"
#include "core/kv_block.h"

namespace kvsplice::codec {

// "layer 3 keys", for messages.
std::string name_of(const Unit& unit);

// The units of a codec in coding order: kinds whose layers are joined, then keys and values layer
// by layer. Error usage if the pipelines do not go together.
Result<std::vector<Unit>> units_of(const Pipeline& key, const Pipeline& value,
                                   const ModelShape& shape);

// What a unit's stages work on of a block: floats, keys raw, or for stages of cells as the cache
// holds them, all rounded to f16. Joined layers stand side by side. Error numeric, naming the
// place, if a value is not finite.
Result<Matrix<float>> gather(const KvView& block, const Unit& unit, const ModelShape& shape,
                             bool cells);
// The rows of a unit; joined layers, read one after the other, stand side by side.
Result<Matrix<float>> side_by_side(const Unit& unit, const ModelShape& shape, size_t rows,
                                   const std::function<Result<Matrix<float>>(size_t layer)>& read);
// Joined layers are taken apart again. `body` is called with each layer's part.
Result<> for_layers(const Unit& unit, const ModelShape& shape, MatrixView<const float> rows,
                    const std::function<Result<>(size_t layer, MatrixView<const float>)>& body);

// A matrix without rows for every layer, and what fills it.
KvBlock<float> empty_block(const ModelShape& shape, std::span<const int32_t> tokens,
                           std::span<const int32_t> positions, Space space);
KvSink rows_into(KvBlock<float>& block);

// Rounds keys of cells, raw as they came, to what the cache holds of them.
void to_cells(Matrix<float>& rows, const Unit& unit, std::span<const int32_t> positions);

// Error numeric, naming the place, if a value is not finite.
Result<> check_finite(const Matrix<float>& rows, const std::string& where);
// Error usage if the rows do not fit the model's shape and the tokens.
Result<> check_shape(const KvView& block, const ModelShape& shape);

}  // namespace kvsplice::codec
