// Small integers of a fitted state, compressed: bases and weights are most of a codec file, and
// their entropy is well below the byte that each would take.
#pragma once

#include <span>

#include "codec/stage.h"

namespace kvsplice::codec {

// values: integers -128 ... 127. The array holds the bytes of one zstd frame, whose content is the
// values as signed bytes.
StateArray pack_integers(std::span<const float> values);

// `count` of them. Errors: another count, damage; says so for `name`.
Result<std::vector<float>> unpack_integers(const State& state, const std::string& name,
                                           size_t count);

}  // namespace kvsplice::codec
