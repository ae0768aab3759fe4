// What a pipeline leaves over is stored as it stands: floats as f16, integer codes in as few bits
// as they need. This is the implicit last step of every pipeline without an entropy coder.
#pragma once

#include "codec/stage.h"

namespace kvsplice::codec {

// Error numeric if a float is beyond the range of f16.
Result<> pack(const Rows& rows, ByteWriter& out);
// `count` rows of `width` columns; `quantised` says what pack was given.
Result<Rows> unpack(ByteReader& in, size_t count, size_t width, bool quantised);

}  // namespace kvsplice::codec
