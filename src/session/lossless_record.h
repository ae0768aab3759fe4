// Cells coded without loss: the payload of exact records behind their tokens. High bytes (sign,
// exponent and two bits of mantissa) go through an adaptive binary range coder, one tree of
// probabilities per column; low bytes are noise and stand as they are. Of layers with a window all
// cells are there or none.
#pragma once

#include "core/bytes.h"
#include "core/kv_block.h"

namespace kvsplice::session {

void put_lossless(const KvView& cells, const std::vector<LayerShape>& layers, ByteWriter& out);

// Such cells, whose lengths have been compared with the bytes. They are decoded layer by layer.
class LosslessRecord {
 public:
  // Of `count` tokens and of layers of these widths; reads `in` to its end. The bytes stay where
  // they are.
  static Result<LosslessRecord> parse(ByteReader& in, size_t count,
                                      const std::vector<LayerShape>& layers);

  bool lacks_windows() const { return lacks_windows_; }
  // Its rows become those of the tokens from number `at` on, which may lie before `to` begins or
  // behind its end.
  Result<> decode(Kind kind, size_t layer, ptrdiff_t at, const KvPlace& to) const;

 private:
  struct Rows {
    ByteSpan high, low;
    size_t width = 0;
    int layer = 0;  // of the model
    bool absent = false;
  };
  const Rows& rows(Kind kind, size_t layer) const { return rows_[2 * layer + size_t(kind)]; }

  size_t count_ = 0;
  bool lacks_windows_ = false;
  std::vector<Rows> rows_;  // keys and values, layer by layer
};

}  // namespace kvsplice::session
