// Which of our GGUF files one is.
#pragma once

#include <string>

#include "kvsplice/result.h"

namespace kvsplice::gguf {

// The metadata `kvsplice.kind`: "codec", "dump"; empty: not one of ours, but perhaps a model.
Result<std::string> kind_of_gguf(const std::string& path);

}  // namespace kvsplice::gguf
