// The descriptors of the C interface as the library's own views.
#pragma once

#include <optional>

#include "codec/stage.h"
#include "core/kv_block.h"
#include "core/limits.h"
#include "kvsplice/kvsplice.h"

namespace kvsplice::api {

// Error usage if pointers are missing or an element type is none.
Result<KvView> view_of(const kvs_block* block, const ModelShape& shape);
// Error usage if rows cannot be written there.
Result<> check_place(const kvs_block* block, const ModelShape& shape);
// Writes rows [n x width] to place `at` of the caller's rows.
void write(MatrixView<const float> rows, size_t at, const kvs_rows& to);

kvs_layer layer_of(const LayerShape& layer);
Result<ModelShape> shape_of(const kvs_model& model);

// Nothing where there are none.
std::optional<codec::Embeddings> embeddings_of(const kvs_embeddings* lent);
ReadLimits limits_of(const kvs_options* options);
Space space_of(kvs_space space);
kvs_kind kind_of(Kind kind);

// Bytes in memory of the caller's.
Result<> hand_out(ByteSpan bytes, const kvs_options& options, kvs_buffer& out);

}  // namespace kvsplice::api
