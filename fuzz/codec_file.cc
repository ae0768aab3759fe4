// A file that claims to be a codec; what loads has to code rows, and to print its text.
#include "codec/codec.h"
#include "core/threads.h"
#include "support/driver.h"
#include "support/gguf_mutator.h"
#include "support/small_codecs.h"

using namespace kvsplice;

const double fuzz::least_accepted = 0.2;

namespace {

constexpr size_t kTokens = 5, kMostValues = 1 << 14;  // per token, of all layers

size_t values_of(const ModelShape& shape) {
  size_t values = 0;
  for (const LayerShape& l : shape.layers) {
    values += static_cast<size_t>(l.width(Kind::key)) + static_cast<size_t>(l.width(Kind::value));
  }
  return values;
}

KvBlock<float> some_block(const ModelShape& shape) {
  KvBlock<float> block;
  for (size_t t = 0; t < kTokens; ++t) {
    block.tokens.push_back(static_cast<int32_t>(t % 3));
    block.positions.push_back(static_cast<int32_t>(t + 4));
  }
  Random random(1);
  for (const LayerShape& l : shape.layers) {
    for (Kind kind : {Kind::key, Kind::value}) {
      Matrix<float>& rows = block.of(kind).emplace_back(kTokens, l.width(kind));
      for (float& x : rows.flat()) x = static_cast<float>(random.normal());
    }
  }
  return block;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const bool alone = (set_thread_count(1), true);
  if (!alone) return 0;
  const auto codec = codec::Codec::load(view_source({data, size}), "the input");
  if (!codec.ok()) return 0;
  fuzz::accept();
  if (values_of(codec->shape()) > kMostValues) return 0;
  const KvBlock<float> block = some_block(codec->shape());
  const codec::Embeddings& embeddings = fuzz::small_embeddings();
  const auto bytes = codec->encode(block, &embeddings);
  if (!bytes.ok()) return 0;
  (void)codec->decode(*bytes, block.tokens, block.positions, &embeddings).ok();
  return 0;
}

extern "C" size_t LLVMFuzzerCustomMutator(uint8_t* data, size_t size, size_t most, unsigned seed) {
  Random random(seed);
  return fuzz::hand_over(fuzz::mutate_gguf({data, size}, random), data, most);
}
