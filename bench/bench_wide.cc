// The default codec on caches of the shapes people run: how small, how fast to fit, how fast in and
// out. Rates are of whole blocks, which stand one on each thread.
#include <fmt/format.h>

#include <fstream>

#include "bench/bench.h"
#include "bench/wide_cache.h"
#include "calibrate/calibrate.h"
#include "core/stopwatch.h"
#include "core/threads.h"
#include "fit/fit_codec.h"

namespace kvsplice::bench {

namespace {

constexpr WideModel kModels[] = {
    {"Llama-3.2-1B", 4, 16, 8, 64, 32, 2048},
    {"Llama-3.1-8B", 4, 32, 8, 128, 32, 4096},
    {"Qwen3-30B-A3B", 4, 48, 4, 128, 32, 2048},
};
constexpr size_t kCalibration = 20480;  // tokens
constexpr size_t kBlock = 512;

// The most memory this process has held since the last call with `from_now`, in bytes; 0 if the
// system does not tell.
double peak_memory(bool from_now) {
  if (from_now) std::ofstream("/proc/self/clear_refs") << 5;
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);) {
    if (line.starts_with("VmHWM:")) return 1024 * std::strtod(line.c_str() + 6, nullptr);
  }
  return 0;
}

// Of a codec for all layers: there is one that has none below it and reads whole embeddings.
double whole_codec_bytes(const codec::Codec& codec, const WideModel& model) {
  size_t others = 0;
  for (const auto& unit : codec.units()) {
    if (unit.unit().layer > 0) others += unit.state_bytes();
  }
  return double(codec.state_bytes() - others) +
         double(others) * double(model.all_layers - 1) / double(model.layers - 1);
}

Result<std::vector<Measurement>> measure(const WideModel& model, Surroundings& here) {
  const WideCache cache(model);
  const ModelShape shape = shape_of(model);
  const codec::Embeddings embeddings = cache.embeddings();
  KVS_ASSIGN(const codec::CodecText text, codec::parse_codec(calibrate::default_pipeline(shape)));
  const double whole = double(model.all_layers) / model.layers;

  const double before = peak_memory(true);
  const WideRows source(cache.rows(kCalibration, 1), shape);
  const Stopwatch fitting;
  KVS_ASSIGN(const codec::Codec codec, codec::fit_codec(text, shape, source, &embeddings, {}));
  const double fit_s = fitting.seconds(), memory = peak_memory(false) - before;

  const size_t threads = static_cast<size_t>(thread_count());
  const KvBlock<float> block = cache.rows(kBlock, 2);
  const KvView view = block;
  std::vector<Bytes> coded(threads);
  Result<> outcome;
  const double pack = best_ms([&] {
    outcome = parallel_try(threads, [&](size_t i) -> Result<> {
      KVS_ASSIGN(coded[i], codec.encode(view, &embeddings));
      return {};
    });
  });
  KVS_TRY(outcome);
  const double restore = best_ms([&] {
    outcome = parallel_try(threads, [&](size_t i) {
      return codec.decode(coded[i], block.tokens, block.positions, &embeddings, Space::raw,
                          [](Kind, size_t, MatrixView<const float>) { return Result<>(); });
    });
  });
  KVS_TRY(outcome);

  const double cells = double(threads) * shape.f16_bytes(kBlock);
  const double packed = double(threads) * double(coded[0].size());
  const std::string name =
      fmt::format("{}, {} of {} layers", model.name, model.layers, model.all_layers);
  const auto rates = [&](double ms) {
    return fmt::format("{:.0f} MB/s of f16, {:.0f} tokens/s of all layers", cells / ms / 1e3,
                       double(threads * kBlock) / ms * 1e3 / whole);
  };
  here.note(
      fmt::format("{}: codec {:.1f} MB for all layers, {:.1f} times smaller than f16; fit of {} "
                  "tokens {:.0f} s for all layers, {:.1f} GB for these",
                  name, whole_codec_bytes(codec, model) / 1e6, cells / packed, kCalibration,
                  whole * fit_s, memory / 1e9));
  return std::vector<Measurement>{
      {fmt::format("{}: restore, {}", name, rates(restore)), restore,
       here.limit_ms(0, packed, cells)},
      {fmt::format("{}: pack, {}", name, rates(pack)), pack, here.limit_ms(0, cells, packed)}};
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

BenchCase wide_bench() {
  return {"wide", "The default codec on made-up caches of wide models: a block on each thread",
          run};
}

}  // namespace kvsplice::bench
