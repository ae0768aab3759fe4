// Encoded blocks taken apart and put together again with lengths that are right: sizes of the
// units' payloads, then the payloads; in each the stages' side data behind their sizes, then codes.
#pragma once

#include "core/bytes.h"
#include "core/random.h"

namespace kvsplice::fuzz {

// units: payloads of a block; stages: of each unit.
Bytes mutate_block(ByteSpan block, size_t units, size_t stages, Random& random);

}  // namespace kvsplice::fuzz
