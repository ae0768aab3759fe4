// The field of tokens in llama.cpp's files. llama_state_*_save_file writes what it is given: a
// plain list, or the record llama-server packs, which can name media, too:
//   -1, format, number of tokens, tokens, number of media, media, padding to four bytes
#pragma once

#include <cstdint>
#include <vector>

#include "kvsplice/result.h"

namespace kvsplice::host {

// Error unsupported for media and for other formats of the record.
Result<std::vector<int32_t>> unpack_token_field(std::vector<int32_t> words);

}  // namespace kvsplice::host
