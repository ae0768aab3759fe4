// How the payloads of a codec's units stand in an encoded block: docs/codecs.md, "Blocks".
#pragma once

#include <vector>

#include "core/bytes.h"
#include "kvsplice/result.h"

namespace kvsplice::codec {

// The lengths of all payloads, then the payloads.
Bytes join_payloads(const std::vector<Bytes>& payloads);
Result<std::vector<ByteSpan>> split_payloads(ByteSpan block, size_t units);

}  // namespace kvsplice::codec
