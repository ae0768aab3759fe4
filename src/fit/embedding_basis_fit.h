#pragma once

#include "codec/embedding_basis.h"

namespace kvsplice::codec {

// The `count` principal directions of embedding rows [n x dim]. Error usage if there are not that
// many.
Result<EmbeddingBasis> fit_embedding_basis(MatrixView<const float> embedded, size_t count);

}  // namespace kvsplice::codec
