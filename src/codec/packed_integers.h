// Small integers of a fitted state, compressed: bases and weights are most of a codec file, and
// their entropy is well below the byte that each would take.
#pragma once

#include <span>

#include "codec/stage.h"

namespace kvsplice::codec {

// The bytes of `values`, integers -128 ... 127 in rows of `columns`, behind the model they are
// coded with (docs/codecs.md, "Packed integers").
StateArray pack_integers(std::span<const float> values, size_t columns);

// `count` of them, in the same rows; zeros fill the last. Errors: another count, more than the
// bytes can hold, damage; says so for `name`.
Result<Matrix<int32_t>> unpack_integers(const State& state, const std::string& name, size_t count,
                                        size_t columns);

}  // namespace kvsplice::codec
