// One token's attention over a cache of one layer, as llama.cpp's processor back-end computes it.
#pragma once

#include <functional>

#include "core/matrix.h"
#include "core/shape.h"
#include "host/model.h"

namespace kvsplice::bench {

// Heads of keys and values are of one size. Keys and values [tokens x width] are converted to the
// type; queries [1 x query heads * head dim]. What is returned computes on all threads, each time
// to `out`, and keeps what it needs.
Result<std::function<void()>> ggml_attention(const LayerShape& layer, host::CacheType type,
                                             MatrixView<const float> keys,
                                             MatrixView<const float> values,
                                             MatrixView<const float> queries,
                                             MatrixView<float> out);

}  // namespace kvsplice::bench
