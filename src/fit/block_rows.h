// The rows of a block as calibration rows.
#pragma once

#include <utility>

#include "core/kv_block.h"
#include "fit/row_source.h"

namespace kvsplice::codec {

class BlockRows : public RowSource {
 public:
  // Keys in raw space.
  explicit BlockRows(KvBlock<float> block) : block_(std::move(block)) {}
  std::span<const int32_t> tokens() const override { return block_.tokens; }
  std::span<const int32_t> positions() const override { return block_.positions; }
  Result<Matrix<float>> read(Kind kind, int layer) const override {
    return block_.of(kind)[static_cast<size_t>(layer)];
  }

 private:
  KvBlock<float> block_;
};

}  // namespace kvsplice::codec
