// What makes two files the same model: architecture, hyperparameters, and the names, shapes, types
// and data of the tensors. Tokenizer, names, chat template and the way a model is split into files
// do not matter.
#pragma once

#include <string>
#include <vector>

#include "host/gguf_source.h"

namespace kvsplice::host {

// 32 hex digits, XXH3-128. Of each tensor at most 64 KiB are hashed, in 16 pieces spread over it,
// so that large models cost no more than their number of tensors.
Result<std::string> fingerprint(const std::vector<GgufSource>& files);

}  // namespace kvsplice::host
