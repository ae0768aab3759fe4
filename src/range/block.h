// A block of codes as bytes: states, words and escapes of the coder one after the other (spec.md of
// the stage `range`, "Block").
#pragma once

#include "core/bytes.h"
#include "range/model.h"

namespace kvsplice::range {

// codes: rows x model.columns, within_reach() of their column's centre.
void encode_block(const Model& model, MatrixView<const int32_t> codes, ByteWriter& out);

// How many codes n bytes of a block can hold at most: each takes its share of a state, however
// likely it is.
inline size_t most_codes(size_t bytes) {
  constexpr size_t kPerByte = 8192;  // a code of frequency 2^14 - 15 takes more than 1/1024 bit
  return bytes > ~size_t{0} / kPerByte ? ~size_t{0} : bytes * kPerByte;
}

// The same number of rows, from all that is left of `in`. Error format of anything that
// encode_block does not write.
Result<> decode_block(const Model& model, ByteReader& in, Matrix<int32_t>& codes);

}  // namespace kvsplice::range
