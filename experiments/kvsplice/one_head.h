// Codecs on plain rows: the values of a model of one layer and one head.
#pragma once

#include "codec/codec.h"

namespace kvsplice::experiment {

// A codec "k: f16; v: <pipeline>" fitted to rows [n x dim].
Result<codec::Codec> fit_one_head(const std::string& pipeline, MatrixView<const float> rows,
                                  const Progress& progress);

// The rows as values of consecutive tokens; keys are zero.
codec::CacheBlock block_of(MatrixView<const float> rows);

}  // namespace kvsplice::experiment
