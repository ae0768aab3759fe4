#include "core/file.h"
#include "extract/dump_file.h"
#include "seeds.h"
#include "support/small_codecs.h"

namespace kvsplice::fuzz {

namespace {

using host::Signal;

extract::DumpInfo describe(std::vector<Signal> signals) {
  extract::DumpInfo info;
  info.shape = small_shape();
  info.layers = {0, 1};
  info.heads = {0};  // the second layer has no other
  info.signals = std::move(signals);
  const size_t n = small_block().count();
  info.texts = {{"one.txt", std::string(32, '1'), n - 2}, {"two.txt", std::string(32, '2'), 2}};
  return info;
}

Result<Bytes> write_dump(const extract::DumpInfo& info, const std::string& path) {
  KVS_ASSIGN(gguf::GgufWriter file, extract::begin_dump(path, info, small_block().tokens));
  for (int layer : info.layers) {
    for (Signal signal : info.signals) {
      const size_t width = extract::dumped_heads(info, signal, layer).size() *
                           size_t(extract::dumped_dim(info, signal, layer));
      const std::vector<float> values(info.tokens() * width, 0.5f);
      KVS_TRY(file.write(extract::tensor_name(signal, layer), 0, std::span<const float>(values)));
    }
  }
  KVS_TRY(file.finish());
  return read_file(path);
}

Result<std::vector<Bytes>> make(const std::string& scratch) {
  std::vector<Bytes> seeds;
  for (const auto& signals :
       {std::vector{Signal::key_before_rope, Signal::key, Signal::value, Signal::query},
        std::vector{Signal::key_before_rope, Signal::value}}) {
    KVS_ASSIGN(Bytes seed, write_dump(describe(signals), scratch));
    seeds.push_back(std::move(seed));
  }
  KVS_TRY(extract::extract_synthetic({2, 1, 4, 9, 1}, scratch));
  KVS_ASSIGN(Bytes seed, read_file(scratch));
  seeds.push_back(std::move(seed));
  return seeds;
}

}  // namespace

Seeds dump_seeds() { return {"dump", make}; }

}  // namespace kvsplice::fuzz
