// Decoding and prefill behind prompts of several lengths, with a live cache and with those that
// llama.cpp has.
#include <fmt/format.h>

#include <filesystem>

#include "bench/bench.h"
#include "bench/prompt.h"
#include "bench/prompt_codec.h"
#include "calibrate/default_pipeline.h"
#include "core/file.h"
#include "core/stopwatch.h"
#include "host/cache_block.h"
#include "host/texts.h"

namespace kvsplice::bench {

namespace {

constexpr int kLengths[] = {512, 2048, 4096, 8192};  // with what is decoded
constexpr int kDecoded = 16;                         // tokens behind the prompt
constexpr int kFitted = 1024;                        // tokens of a prompt that a codec is fitted on

// What was named if it is live, or, fitted on a short prompt, what `calibrate --live` makes.
Result<live::LiveForm> live_form(const host::Model& model, Surroundings& here) {
  if (!here.places().codec.empty()) {
    KVS_ASSIGN(const codec::Codec named, codec::Codec::load(here.places().codec));
    auto form = live::LiveForm::of(named);
    if (form.ok()) return form;
    here.note("live: another codec than the one named, which is not live");
  }
  KVS_ASSIGN(const codec::Codec codec,
             fit_on_prompt(model, calibrate::live_pipeline(model.shape(), calibrate::kLiveContext),
                           kFitted, host::embeddings_of(model)));
  return live::LiveForm::of(codec);
}

Result<std::vector<host::Token>> prompt_of(const host::Model& model, Surroundings& here) {
  const size_t most = size_t(kLengths[std::size(kLengths) - 1]);
  if (here.places().text.empty()) return random_prompt(model, int(most));
  KVS_ASSIGN(const std::string text, read_text(here.places().text));
  return host::tokenize(model, text, {.most = most});
}

struct Cache {
  std::string name;
  host::CacheType type = host::CacheType::f16;
  std::shared_ptr<const live::LiveForm> live = nullptr;
};

struct Times {
  double prefill = 0, decode = 0;  // ms: of the prompt, and of a token
  double bytes = 0;                // of the cache
};

Result<Times> time(const host::Model& model, const Cache& cache,
                   std::span<const host::Token> tokens, size_t prompt) {
  host::ContextOptions options;
  options.n_ctx = int(tokens.size());
  options.cache = cache.type;
  options.live = cache.live;
  KVS_ASSIGN(host::Context context, host::Context::create(model, options));
  Times times;
  const Stopwatch watch;
  KVS_TRY(context.decode(tokens.first(prompt), 1));
  times.prefill = 1e3 * watch.seconds();
  times.decode = INFINITY;
  for (size_t t = prompt; t < tokens.size(); ++t) {
    const Stopwatch step;
    KVS_TRY(context.decode(tokens.subspan(t, 1), 1));
    times.decode = std::min(times.decode, 1e3 * step.seconds());
  }
  times.bytes = double(context.cache_bytes());
  return times;
}

Result<std::vector<Measurement>> measure(const host::Model& model, const std::vector<Cache>& caches,
                                         std::span<const host::Token> tokens, int length,
                                         Surroundings& here) {
  const size_t prompt = size_t(length - kDecoded);
  const auto text = tokens.first(size_t(length));
  KVS_ASSIGN(const Times live, time(model, caches[0], text, prompt));
  std::vector<Peer> decode, prefill;
  for (size_t i = 1; i < caches.size(); ++i) {
    KVS_ASSIGN(const Times t, time(model, caches[i], text, prompt));
    decode.push_back({"llama.cpp, " + caches[i].name, t.decode});
    prefill.push_back({"llama.cpp, " + caches[i].name, t.prefill});
  }
  // A step reads all weights, and the cache.
  std::error_code unknown;
  const auto weights = double(std::filesystem::file_size(here.places().model, unknown));
  const auto f16 = double(length) * double(model.shape().f16_bytes_per_token());
  return std::vector<Measurement>{
      {fmt::format("at {} tokens, {:.1f} MB of cache, {:.2f} times smaller than f16: decode",
                   length, live.bytes / 1e6, f16 / live.bytes),
       live.decode, here.limit_ms(0, weights + live.bytes), decode},
      {fmt::format("{} tokens: prefill", prompt), live.prefill, here.limit_ms(0, weights),
       prefill}};
}

Result<std::vector<Measurement>> run(Surroundings& here) {
  std::vector<Measurement> all;
  if (here.places().model.empty()) {
    here.note("live is left out: it needs a model (-m)");
    return all;
  }
  KVS_ASSIGN(const host::Model model, host::Model::load(here.places().model));
  if (model.context_limit() < kFitted) {
    here.note(fmt::format("live is left out: it needs a model for {} tokens", kFitted));
    return all;
  }
  if (const auto possible = model.check_live_cache(); !possible.ok()) {
    here.note("live is left out: " + possible.error().message);
    return all;
  }
  KVS_ASSIGN(live::LiveForm form, live_form(model, here));
  const std::vector<Cache> caches = {
      {"live", host::CacheType::f16, std::make_shared<live::LiveForm>(std::move(form))},
      {"f16", host::CacheType::f16},
      {"q8_0", host::CacheType::q8_0},
      {"q4_0", host::CacheType::q4_0}};
  KVS_ASSIGN(const auto tokens, prompt_of(model, here));
  for (const int length : kLengths) {
    if (length > std::min(model.context_limit(), int(tokens.size()))) {
      here.note(fmt::format("live: {} tokens are left out, model or text are too short", length));
      continue;
    }
    KVS_ASSIGN(const auto some, measure(model, caches, tokens, length, here));
    all.insert(all.end(), some.begin(), some.end());
  }
  return all;
}

}  // namespace

BenchCase live_bench() { return {"live", "Decoding and prefill with a live cache", run}; }

}  // namespace kvsplice::bench
