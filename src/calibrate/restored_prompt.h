// A prompt's rows on their way through a codec while the model holds them: unit by unit, in blocks,
// as `pack` and `unpack` would take them.
#pragma once

#include <vector>

#include "codec/block_coding.h"
#include "codec/codec.h"

namespace kvsplice::calibrate {

class RestoredPrompt {
 public:
  // The first `sinks` tokens stay exact. `codec` must outlive the result. Errors: unsupported if
  // layers are joined; usage if stages read embeddings of another width.
  static Result<RestoredPrompt> begin(const codec::Codec& codec, std::vector<int32_t> tokens,
                                      size_t sinks, const codec::Embeddings& embeddings);

  // A layer's rows [tokens x width], keys before rotation, become what is restored of them. Keys of
  // a layer come before its values, and lower layers first.
  Result<> restore(Kind kind, int layer, MatrixView<float> rows);

 private:
  RestoredPrompt(const codec::Codec& codec, std::vector<int32_t> tokens, size_t sinks);
  Result<> add_block(size_t first, const codec::Embeddings& embeddings);

  const codec::Codec* codec_;
  std::vector<int32_t> tokens_, positions_;
  size_t sinks_;
  std::vector<codec::BlockCoding> blocks_;
};

}  // namespace kvsplice::calibrate
