// A codec fitted in a moment, for cases that want one and were named none.
#pragma once

#include <string>

#include "codec/codec.h"
#include "host/model.h"

namespace kvsplice::bench {

// On the cache of a random prompt of so many tokens.
Result<codec::Codec> fit_on_prompt(const host::Model& model, const std::string& pipeline,
                                   int tokens, const codec::Embeddings& embeddings);

}  // namespace kvsplice::bench
