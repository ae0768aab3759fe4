// GGUF files taken apart, changed and put together again, so that what is damaged is an entry, a
// tensor or a value, and the container is sound.
#pragma once

#include <string>
#include <vector>

#include "core/bytes.h"
#include "core/random.h"

namespace kvsplice::fuzz {

struct GgufParts {
  struct Entry {
    std::string key;
    uint32_t type = 0;
    Bytes value;  // as it stands behind its type
  };
  struct Tensor {
    std::string name;
    std::vector<uint64_t> dims;
    uint32_t type = 0;
    Bytes data;
  };
  std::vector<Entry> metadata;
  std::vector<Tensor> tensors;
};

Result<GgufParts> parse_gguf(ByteSpan bytes);
Bytes write_gguf(const GgufParts& parts);

// One change: of the parts half of the time, else, and where the file is not sound, of any bytes.
Bytes mutate_gguf(ByteSpan bytes, Random& random);

}  // namespace kvsplice::fuzz
