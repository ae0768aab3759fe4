// The cache of a running model <-> blocks of rows that codecs work on.
#pragma once

#include <span>

#include "codec/stage.h"
#include "core/kv_block.h"
#include "host/model.h"

namespace kvsplice::host {

// The model's embeddings for stages that read them; `model` must outlive the result.
codec::Embeddings embeddings_of(const Model& model);

// Rows [first, first + n) of every layer, keys before RoPE. tokens: those of the whole sequence, at
// positions 0, 1, ...
Result<KvBlock<float>> read_block(const Context& context, const ModelShape& shape,
                                  std::span<const int32_t> tokens, size_t first, size_t n);

// Puts the rows back at their positions, keys as the cache holds them.
Result<> write_block(Context& context, const ModelShape& shape, KvBlock<float> block);

}  // namespace kvsplice::host
