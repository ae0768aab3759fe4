// A block of codes as bytes: states, words and escapes of the coder one after the other (spec.md of
// the stage `range`, "Block").
#pragma once

#include "core/bytes.h"
#include "range/model.h"

namespace kvsplice::range {

// codes: rows x model.columns, within +-kLargestCode.
void encode_block(const Model& model, MatrixView<const int32_t> codes, ByteWriter& out);

// The same number of rows, from all that is left of `in`. Error format of anything that
// encode_block does not write.
Result<> decode_block(const Model& model, ByteReader& in, Matrix<int32_t>& codes);

}  // namespace kvsplice::range
