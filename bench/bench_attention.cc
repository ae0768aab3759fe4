// Attention of one token over long caches of one layer, live and as llama.cpp has them: what is
// left where a model's weights are not the larger part.
#include <fmt/format.h>

#include "bench/bench.h"
#include "bench/ggml_attention.h"
#include "bench/wide_cache.h"
#include "calibrate/default_pipeline.h"
#include "core/random.h"
#include "core/threads.h"
#include "fit/fit_codec.h"
#include "host/openmp_threads.h"
#include "live/layer_cache.h"

namespace kvsplice::bench {

namespace {

constexpr WideModel kModels[] = {
    {"Llama-3.2-1B", 1, 16, 8, 64, 32, 2048},
    {"Llama-3.1-8B", 1, 32, 8, 128, 32, 4096},
    {"Qwen3-30B-A3B", 1, 48, 4, 128, 32, 2048},
};
constexpr size_t kTokens = 32768;
constexpr size_t kFitted = 4096;

struct Type {
  const char* name;
  host::CacheType type;
};
constexpr Type kPeers[] = {{"llama.cpp, f16", host::CacheType::f16},
                           {"llama.cpp, q8_0", host::CacheType::q8_0},
                           {"llama.cpp, q4_0", host::CacheType::q4_0}};

Result<live::LiveForm> live_form(const WideCache& cache, const ModelShape& shape) {
  KVS_ASSIGN(const codec::CodecText text,
             codec::parse_codec(calibrate::live_pipeline(shape, kTokens)));
  const WideRows source(cache.rows(kFitted, 1), shape);
  KVS_ASSIGN(const codec::Codec codec, codec::fit_codec(text, shape, source, nullptr, {}));
  return live::LiveForm::of(codec);
}

// Scores of about one: no token is left out for having next to no weight, unlike in real texts.
Matrix<float> query(const ModelShape& shape, const Matrix<float>& keys) {
  double square = 0;
  for (float v : keys.row(0)) square += double(v) * v / double(keys.cols());
  Random random(3);
  Matrix<float> made(1, size_t(shape.query_heads * shape.layers[0].key_dim));
  for (float& v : made.flat()) v = float(random.normal() / std::sqrt(square));
  return made;
}

// Products of bytes that one token's attention takes for every token before it: each query row
// meets the columns that blocks have bits for, and, as two rows of bytes, the rotating mean.
double products_per_token(const live::LiveForm& form) {
  const ModelShape& shape = form.shape();
  const double rows = double(shape.query_heads) / shape.layers[0].kv_heads;  // of a KV head
  double products = 2 * rows * shape.layers[0].width(Kind::key);
  for (Kind kind : {Kind::key, Kind::value}) {
    const live::FoldedUnit& unit = form.unit(kind, 0);
    for (const live::Band& band : unit.bands) {
      for (const size_t grade : unit.grade_of) {
        products += rows * double(band.heads * band.grades[grade].count()) / live::kBlocks;
      }
    }
  }
  return products;
}

Result<std::vector<Measurement>> measure(const WideModel& model, Surroundings& here) {
  const WideCache cache(model);
  const ModelShape shape = shape_of(model);
  const LayerShape& layer = shape.layers[0];
  KVS_ASSIGN(const live::LiveForm form, live_form(cache, shape));
  const KvBlock<float> rows = convert<float>(cache.rows(kTokens, 2), shape, Space::cached);
  live::LayerCache live(form, 0, {});
  for (size_t t = 0; t < kTokens; t += live::kGroup) {
    KVS_TRY(live.append(rows.keys[0].view().row_range(t, live::kGroup),
                        rows.values[0].view().row_range(t, live::kGroup)));
  }
  const Matrix<float> asked = query(shape, rows.keys[0]);
  Matrix<float> out(1, size_t(shape.query_heads * layer.value_dim));
  const live::CellBytes bytes = live.bytes();
  const host::OpenMpThreads threads;
  const double ours =
      best_ms([&] { live.attend(asked, 1 / std::sqrt(float(layer.key_dim)), {}, out); });
  std::vector<Peer> peers;
  for (const Type& peer : kPeers) {
    KVS_ASSIGN(const auto attend,
               ggml_attention(layer, peer.type, rows.keys[0], rows.values[0], asked, out));
    peers.push_back({peer.name, best_ms(attend)});
  }
  const double held = double(bytes.coded + bytes.exact);
  // An instruction has four products of bytes for one of floats.
  const double flops = 2 * products_per_token(form) * double(kTokens) / 4;
  return std::vector<Measurement>{
      {fmt::format("{}, a layer, {} tokens, {:.2f} times smaller than f16", model.name, kTokens,
                   shape.f16_bytes(kTokens) / held),
       ours, here.limit_ms(flops, held), peers}};
}

Result<std::vector<Measurement>> run(Surroundings& here) {
  std::vector<Measurement> all;
  for (const WideModel& model : kModels) {
    KVS_ASSIGN(const auto some, measure(model, here));
    all.insert(all.end(), some.begin(), some.end());
  }
  return all;
}

}  // namespace

BenchCase attention_bench() {
  return {"attention", "One token's attention over a long live cache of a wide layer, made up",
          run};
}

}  // namespace kvsplice::bench
