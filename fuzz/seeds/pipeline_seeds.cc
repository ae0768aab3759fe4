#include "seeds.h"
#include "support/small_codecs.h"

namespace kvsplice::fuzz {

Seeds pipeline_seeds() {
  return {"pipeline", [](const std::string&) -> Result<std::vector<Bytes>> {
            std::vector<Bytes> seeds;
            for (const std::string& p : small_pipelines()) seeds.emplace_back(p.begin(), p.end());
            return seeds;
          }};
}

}  // namespace kvsplice::fuzz
