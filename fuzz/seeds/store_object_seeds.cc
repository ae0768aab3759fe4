#include "seeds.h"
#include "support/store_key.h"

namespace kvsplice::fuzz {

Seeds store_object_seeds() {
  return {"store_object", [](const std::string&) -> Result<std::vector<Bytes>> {
            std::vector<Bytes> seeds;
            for (const store::Object& object : store_objects()) {
              KVS_ASSIGN(Bytes seed, store::seal(object, store_key()));
              seeds.push_back(std::move(seed));
            }
            return seeds;
          }};
}

}  // namespace kvsplice::fuzz
