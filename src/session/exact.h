// Cells coded without loss: the payload of exact records behind their tokens. High bytes (sign,
// exponent and two bits of mantissa) go through an adaptive binary range coder, one tree of
// probabilities per column; low bytes are noise and stand as they are. Of layers with a window all
// cells are there or none.
#pragma once

#include "session/cells.h"

namespace kvsplice::session {

void put_exact(const Cells& cells, const std::vector<LayerShape>& layers, ByteWriter& out);

// Cells of the tokens given, of layers of these widths; reads `in` to its end.
Result<Cells> get_exact(ByteReader& in, size_t first, std::vector<int32_t> tokens,
                        const std::vector<LayerShape>& layers);

}  // namespace kvsplice::session
