// Cells <-> what records hold of them: coded by a codec, or exact. Tokens stand beside.
#pragma once

#include "codec/codec.h"
#include "core/kv_block.h"
#include "session/format.h"

namespace kvsplice::session {

// What turns cells into bytes. Without a codec everything is kept without loss.
struct Coder {
  ModelShape shape;                     // of the model
  const codec::Codec* codec = nullptr;  // fitted for that model
  const codec::Embeddings* embeddings = nullptr;

  // Error mismatch if the codec is of another model, usage if it reads embeddings and there are
  // none.
  Result<> check() const;
  // Whether every cell comes back to the bit.
  bool keeps_all() const { return codec == nullptr || codec->of_cells(); }
};

Result<Bytes> encode_cells(const KvView& cells, RecordKind kind, const Coder& coder);

// The cells of consecutive tokens from position `first` on, as encode_cells() has made them. The
// bytes are hostile, and must outlive this.
struct CodedCells {
  RecordKind kind;
  std::span<const int32_t> tokens;
  size_t first = 0;
  ByteSpan bytes;

  // Whether there are no rows of layers with a window.
  Result<bool> lack_windows(const Coder& coder) const;
  // Rows of token i become those of number at + i, which may lie before `to` begins or behind its
  // end.
  Result<> decode(const Coder& coder, ptrdiff_t at, const KvPlace& to) const;
  // Into a block of its own, for which no memory is taken before the bytes are seen to be sound.
  Result<KvBlock<uint16_t>> decode_apart(const Coder& coder) const;
};

}  // namespace kvsplice::session
