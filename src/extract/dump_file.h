// The layout of dump.gguf, shared by what writes it and what reads it. docs/extract.md describes
// it.
#pragma once

#include <span>
#include <string>

#include "extract/dump.h"

namespace kvsplice::extract {

// Tensor of a signal at an index into shape.layers: "k_pre.7".
std::string tensor_name(host::Signal signal, int layer);

// What one row of a layer holds: the dumped KV heads, or query heads.
std::vector<int> dumped_heads(const DumpInfo& info, host::Signal signal, int layer);
int dumped_dim(const DumpInfo& info, host::Signal signal, int layer);

// The columns of some heads, each of `dim` columns.
Matrix<float> pick_heads(MatrixView<const float> rows, std::span<const int> heads, size_t dim);

// Metadata and tensors of `info`, tokens and positions too; what is missing are the signals'
// values.
Result<gguf::GgufWriter> begin_dump(const std::string& path, const DumpInfo& info,
                                    std::span<const int32_t> tokens);

Result<DumpInfo> read_info(const gguf::GgufReader& file);

// Positions of all rows: 0, 1, 2, ... from every text's start.
std::vector<int32_t> positions_of(const DumpInfo& info);

}  // namespace kvsplice::extract
