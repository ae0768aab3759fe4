#include "seeds.h"
#include "support/small_codecs.h"

namespace kvsplice::fuzz {

Seeds codec_block_seeds() {
  return {"codec_block", [](const std::string&) -> Result<std::vector<Bytes>> {
            std::vector<Bytes> seeds;
            for (size_t i = 0; i < small_pipelines().size(); ++i) {
              const codec::Codec* codec = small_codec(i);
              if (codec == nullptr) continue;
              Bytes seed = {static_cast<uint8_t>(i)};
              KVS_ASSIGN(const Bytes block, codec->encode(small_block(), &small_embeddings()));
              seed.insert(seed.end(), block.begin(), block.end());
              seeds.push_back(std::move(seed));
            }
            return seeds;
          }};
}

}  // namespace kvsplice::fuzz
