// The most that a file may claim, far above what models of today need. Readers refuse more before
// they take memory for it; writers refuse to write what no reader would take. Beside these limits
// every length is checked against the bytes that are there. docs/format.md, "Limits".
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

#include "kvsplice/result.h"

namespace kvsplice {

namespace limits {

// Models.
constexpr int kLayers = 4096;                     // that own a cache
constexpr int kHeads = 4096;                      // of a layer's keys and values
constexpr int kHeadDim = 4096;                    // values of a head
constexpr int kLayerWidth = 1 << 20;              // values of a token's keys in a layer
constexpr size_t kTokenValues = size_t{1} << 22;  // of a token's keys and values in all layers
constexpr int kStateValues = 1 << 26;             // of a recurrent layer's r or s
constexpr int kQueryHeads = 1 << 16;              // of a layer
constexpr int kWindow = 1 << 30;                  // of sliding attention, in tokens
constexpr int kVocabulary = 1 << 30, kEmbedding = 1 << 30;

// Texts and sequences.
constexpr size_t kTokens = size_t{1} << 28;         // of a session, its sinks and its window
constexpr size_t kBlockTokens = 4096;               // that are coded together
constexpr size_t kString = size_t{1} << 16;         // bytes of a name
constexpr size_t kSessionHeader = size_t{1} << 20;  // bytes

// GGUF files: codecs and dumps.
constexpr size_t kGgufHeader = size_t{1} << 28;  // bytes before the data of the tensors
constexpr size_t kTensorName = 63;               // bytes; ggml reads no more
constexpr size_t kTensorDims = 4;

// Codecs.
constexpr size_t kPipelineText = size_t{1} << 14;    // bytes of a codec's pipelines
constexpr size_t kStages = 32;                       // of a pipeline
constexpr size_t kStagesOfUnits = size_t{1} << 16;   // of a codec, those of all units
constexpr size_t kPackedIntegers = size_t{1} << 27;  // of one array

}  // namespace limits

// What a caller is ready to take of a file, beside what is legal.
struct ReadLimits {
  uint64_t tokens = limits::kTokens;
  uint64_t bytes = uint64_t{1} << 40;  // of memory, for what is read

  // Error memory if `what` is of more tokens or would take more bytes.
  Result<> check(const std::string& what, uint64_t its_tokens, uint64_t its_bytes) const;
};

}  // namespace kvsplice
