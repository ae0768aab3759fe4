// Codecs on plain rows: the values of a model of one layer.
#pragma once

#include "codec/codec.h"

namespace kvsplice::experiment {

// A codec "k: f16; v: <pipeline>" fitted to rows [n x heads * head_dim].
Result<codec::Codec> fit_rows(const std::string& pipeline, MatrixView<const float> rows,
                              size_t heads = 1);

// The rows as values of consecutive tokens; keys are zero.
KvBlock<float> block_of(MatrixView<const float> rows);

// Rows as they come back, and the bytes each takes in the encoded block.
struct CodedRows {
  Matrix<float> rows;
  double bytes = 0;
};
Result<CodedRows> code_rows(const std::string& pipeline, MatrixView<const float> train,
                            MatrixView<const float> test, size_t heads = 1);

}  // namespace kvsplice::experiment
