#include "support/small_codecs.h"

#include <map>
#include <memory>

#include "codec/stage_case.h"
#include "tests/conformance/generated_cache.h"

namespace kvsplice::fuzz {

namespace {

using codec::Codec;

constexpr size_t kFitTokens = 96, kBlockTokens = 6;

std::unique_ptr<Codec> fit(const std::string& pipeline) {
  const auto text = codec::parse_codec(pipeline);
  if (!text.ok()) return nullptr;
  static const KvBlock<float> rows = codec::generate_block(small_shape(), kFitTokens, 1);
  const codec::BlockSource source(rows, small_shape());
  auto made = codec::fit_codec(*text, small_shape(), source, &small_embeddings(), {});
  if (!made.ok()) return nullptr;
  if (!made->encode(small_block(), &small_embeddings()).ok()) return nullptr;
  return std::make_unique<Codec>(std::move(*made));
}

}  // namespace

const ModelShape& small_shape() {
  static const ModelShape shape = codec::make_shape({{2, 8, 6}, {1, 12, 12}});
  return shape;
}

const KvBlock<float>& small_block() {
  static const KvBlock<float> block = codec::generate_block(small_shape(), kBlockTokens, 2);
  return block;
}

const codec::Embeddings& small_embeddings() {
  static const codec::Embeddings embeddings = codec::generate_embeddings();
  return embeddings;
}

const std::vector<std::string>& small_pipelines() {
  static const std::vector<std::string> pipelines = [] {
    std::vector<std::string> all = {
        "layers(history=3) | focus | fisher | klt(stored=packed) | step(delta=0.6,recall=512) | "
        "range"};
    for (const codec::StageCase& c : codec::stage_cases()) {
      for (const codec::StageVariant& v : c.variants) all.push_back(v.pipeline);
    }
    return all;
  }();
  return pipelines;
}

const Codec* small_codec(size_t pipeline) {
  static std::map<size_t, std::unique_ptr<Codec>> made;
  const auto [at, added] = made.try_emplace(pipeline);
  if (added) at->second = fit(small_pipelines()[pipeline]);
  return at->second.get();
}

}  // namespace kvsplice::fuzz
