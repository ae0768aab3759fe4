// Bytes that claim to be a block of a codec that was fitted; the first byte says of which.
#include "core/threads.h"
#include "support/block_mutator.h"
#include "support/driver.h"
#include "support/small_codecs.h"

using namespace kvsplice;

const double fuzz::least_accepted = 0.1;

namespace {

const codec::Codec* codec_of(uint8_t byte) {
  return fuzz::small_codec(byte % fuzz::small_pipelines().size());
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const bool alone = (set_thread_count(1), true);
  const codec::Codec* codec = alone && size > 0 ? codec_of(data[0]) : nullptr;
  if (codec == nullptr) return 0;
  const KvBlock<float>& like = fuzz::small_block();
  const auto block =
      codec->decode({data + 1, size - 1}, like.tokens, like.positions, &fuzz::small_embeddings());
  if (!block.ok()) return 0;
  fuzz::accept();
  for (Kind kind : {Kind::key, Kind::value}) {
    for (size_t l = 0; l < like.of(kind).size(); ++l) {
      fuzz::demand(block->of(kind)[l].rows() == like.count());
      fuzz::demand(block->of(kind)[l].cols() == like.of(kind)[l].cols());
    }
  }
  return 0;
}

extern "C" size_t LLVMFuzzerCustomMutator(uint8_t* data, size_t size, size_t most, unsigned seed) {
  Random random(seed);
  const codec::Codec* codec = size > 0 ? codec_of(data[0]) : nullptr;
  if (codec == nullptr) return LLVMFuzzerMutate(data, size, most);
  const Bytes block = fuzz::mutate_block({data + 1, size - 1}, codec->units().size(),
                                         codec->units()[0].stages().size(), random);
  return 1 + fuzz::hand_over(block, data + 1, most - 1);
}
