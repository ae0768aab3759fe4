// A file that claims to be a codec; if it loads, it decodes the bytes behind the file, too.
#include "codec/codec.h"
#include "memory_file.h"

using namespace kvsplice;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const MemoryFile file(data, size);
  if (!file.whole()) return 0;
  const auto codec = codec::Codec::load(file.path());
  if (!codec.ok() || codec->needs_embeddings()) return 0;
  const std::vector<int32_t> tokens = {1, 2, 3}, positions = {4, 5, 6};
  const ByteSpan tail = ByteSpan(data, size).last(size < 200 ? size : 200);
  (void)codec->decode(tail, tokens, positions, nullptr).ok();
  return 0;
}
