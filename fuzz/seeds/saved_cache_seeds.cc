#include "core/file.h"
#include "seeds.h"
#include "support/live_layers.h"

namespace kvsplice::fuzz {

namespace {

Result<std::vector<Bytes>> make(const std::string& scratch) {
  std::vector<Bytes> seeds;
  for (const size_t tokens : {1, 40, 300, 1100}) {
    KVS_ASSIGN(const auto layers, live_layers(tokens));
    KVS_ASSIGN(OutputFile out, OutputFile::reserve(scratch));
    KVS_TRY(live::save_cache(std::move(out), live_form(), layers,
                             std::vector<int32_t>(tokens + tokens % 3, 7)));
    KVS_ASSIGN(Bytes seed, read_file(scratch));
    seeds.push_back(std::move(seed));
  }
  return seeds;
}

}  // namespace

Seeds saved_cache_seeds() { return {"saved_cache", make}; }

}  // namespace kvsplice::fuzz
