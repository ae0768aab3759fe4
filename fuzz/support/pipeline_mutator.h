// Pipeline text changed stage by stage, with names, parameters and values that exist.
#pragma once

#include "core/bytes.h"
#include "core/random.h"

namespace kvsplice::fuzz {

Bytes mutate_pipeline(ByteSpan text, Random& random);

}  // namespace kvsplice::fuzz
