// The descriptors of the C interface as the library's own views.
#pragma once

#include "core/kv_block.h"
#include "kvsplice/kvsplice.h"

namespace kvsplice::api {

const kvs_rows* rows_of(const kvs_block& block, Kind kind);
Result<Space> space_of(kvs_space space);

struct Tokens {
  std::span<const int32_t> tokens, positions;  // size n
};
// Error usage if there are too many, or pointers are missing.
Result<Tokens> tokens_of(const kvs_block& block);

// Error usage if pointers or strides are missing, or numbers mean nothing.
Result<KvView> view_of(const kvs_block* block, const ModelShape& shape);
// The same of a place for rows, of which the first `absent` tokens have none in layers with a
// window.
Result<> check_place(const kvs_block& block, const ModelShape& shape, size_t absent);
// A place that was checked, of halves.
KvPlace place_of(const kvs_block& block, const ModelShape& shape, size_t absent);
// Writes rows to place `at` and the following of the caller's rows.
void write(MatrixView<const float> rows, size_t at, const kvs_rows& to);

kvs_layer layer_of(const LayerShape& layer);
Result<ModelShape> shape_of(const kvs_model& model);

}  // namespace kvsplice::api
