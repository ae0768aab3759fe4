// The file of a model, whatever its tensors are of: which model it is. Nothing of it is loaded.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "core/byte_source.h"

namespace kvsplice::gguf {

// ggml's types of tensors: `block` values take `bytes` bytes.
struct GgmlType {
  uint32_t number;
  uint32_t block, bytes;
};
const std::vector<GgmlType>& ggml_types();

// The files of a model that may be split, given the first. Error format if it is another part.
Result<std::vector<std::string>> files_of_model(const std::string& path);

// What makes two files the same model: architecture, hyperparameters, and the names, shapes, types
// and data of the tensors. Tokenizer, names, chat template and the way a model is split into files
// do not matter.
// 32 hex digits, XXH3-128. Of each tensor at most 64 KiB are hashed, in 16 pieces spread over it,
// so that large models cost no more than their number of tensors.
// Errors: io; format for what is no GGUF file, or cut short; unsupported for a type of tensors that
// is not known.
Result<std::string> fingerprint_of_model(const std::string& path);
// Of a model in one file, wherever that is.
Result<std::string> fingerprint_of_model(std::shared_ptr<const ByteSource> file,
                                         const std::string& name);

}  // namespace kvsplice::gguf
