// Cells of the tiny model's cache.
#pragma once

#include "core/half.h"
#include "core/kv_block.h"
#include "core/random.h"

namespace kvsplice::fuzz {

inline KvBlock<uint16_t> some_cells(const ModelShape& shape, size_t n) {
  KvBlock<uint16_t> cells(shape, Space::cached, 0, n);
  Random random(3);
  for (int32_t& token : cells.tokens) token = static_cast<int32_t>(random.below(9));
  for (Kind kind : {Kind::key, Kind::value}) {
    for (auto& rows : cells.of(kind)) {
      for (uint16_t& x : rows.flat()) x = to_half(static_cast<float>(random.normal()));
    }
  }
  return cells;
}

}  // namespace kvsplice::fuzz
