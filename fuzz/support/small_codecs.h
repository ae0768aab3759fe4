// Codecs of a tiny made-up model, fitted when they are first asked for, and a block of its cache.
#pragma once

#include "codec/codec.h"

namespace kvsplice::fuzz {

const ModelShape& small_shape();  // two layers of 28 and 24 values per token
const KvBlock<float>& small_block();
const codec::Embeddings& small_embeddings();

// Every stage's cases and the default pipeline, if they can be fitted to so small a model.
const std::vector<std::string>& small_pipelines();
constexpr size_t kDefaultPipeline = 0;
// Null if it cannot.
const codec::Codec* small_codec(size_t pipeline);

}  // namespace kvsplice::fuzz
