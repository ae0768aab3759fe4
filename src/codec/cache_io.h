// The cache of a running model <-> blocks of rows that codecs work on.
#pragma once

#include <span>

#include "codec/codec.h"
#include "host/model.h"

namespace kvsplice::codec {

// The model's embeddings for stages that read them; `model` must outlive the result.
Embeddings embeddings_of(const host::Model& model);

// Rows [first, first + n) of every layer; keys are turned back to what they were before RoPE.
// tokens: those of the whole sequence, at positions 0, 1, ...
Result<CacheBlock> read_block(const host::Context& context, const ModelShape& shape,
                              std::span<const int32_t> tokens, size_t first, size_t n);

// Puts the rows back at their positions, keys rotated again.
Result<> write_block(host::Context& context, const ModelShape& shape, CacheBlock block);

}  // namespace kvsplice::codec
