// What a packed session saves: its way into llama.cpp's cache and back beside evaluating the same
// prompt, on as many threads.
#include <fmt/format.h>

#include "bench/bench.h"
#include "bench/prompt.h"
#include "bench/prompt_codec.h"
#include "calibrate/default_pipeline.h"
#include "core/temporary_folder.h"
#include "host/cache_block.h"
#include "host/context_cells.h"

namespace kvsplice::bench {

namespace {

constexpr int kLengths[] = {1024, 4096};

// From llama.cpp's cache to a file.
Result<> save(const host::Context& context, std::span<const host::Token> tokens,
              const session::Coder& coder, const std::string& path) {
  KVS_ASSIGN(const host::StateCells state, host::cells_of(context, coder.shape, tokens));
  return session::pack(path, state.cells, {}, coder, {}, {});
}

// And back.
Result<> load(const std::string& path, const session::Coder& coder, host::Context& context) {
  KVS_ASSIGN(const session::Session session, session::Session::open(path, coder));
  KVS_TRY(host::restore_session(session, coder.shape, context, {}));
  return {};
}

// The fastest of several calls; their first error.
Result<double> timed(const std::function<Result<>()>& body) {
  Result<> outcome;
  const double ms = best_ms([&] {
    if (outcome.ok()) outcome = body();
  });
  KVS_TRY(std::move(outcome));
  return ms;
}

Result<std::vector<Measurement>> measure(const host::Model& model, const session::Coder& coder,
                                         int length, const std::string& file, Surroundings& here) {
  const auto tokens = random_prompt(model, length);
  host::ContextOptions options;
  options.n_ctx = length;
  KVS_ASSIGN(host::Context context, host::Context::create(model, options));
  KVS_ASSIGN(const double evaluate, timed([&] {
               context.clear();
               return context.decode(tokens, 1);
             }));
  KVS_ASSIGN(const double pack, timed([&] { return save(context, tokens, coder, file); }));
  KVS_ASSIGN(const double restore, timed([&] { return load(file, coder, context); }));
  KVS_ASSIGN(const auto reader, session::SessionReader::open(file));
  // Both read one side and write the other.
  const double packed = double(reader.file_bytes()), cells = model.shape().f16_bytes(tokens.size());
  const Peer peer{"llama.cpp evaluates the prompt", evaluate};
  const std::string what = fmt::format("{} tokens, {:.1f} MB", length, packed / 1e6);
  return std::vector<Measurement>{
      {what + ", restore", restore, here.limit_ms(0, packed, cells), {peer}},
      {what + ", pack", pack, here.limit_ms(0, cells, packed), {peer}}};
}

Result<std::vector<Measurement>> run(Surroundings& here) {
  std::vector<Measurement> all;
  if (here.places().model.empty()) {
    here.note("restore is left out: it needs a model (-m)");
    return all;
  }
  KVS_ASSIGN(const host::Model model, host::Model::load(here.places().model));
  if (model.context_limit() < kLengths[0]) {
    here.note(fmt::format("restore is left out: it needs a model for {} tokens", kLengths[0]));
    return all;
  }
  const codec::Embeddings embeddings = host::embeddings_of(model);
  KVS_ASSIGN(const TemporaryFolder folder, TemporaryFolder::create("bench"));
  KVS_ASSIGN(const codec::Codec codec,
             fit_on_prompt(model, calibrate::kDefaultPipeline, kLengths[0], embeddings));
  const session::Coder coder{model.shape(), &codec, &embeddings};
  for (const int length : kLengths) {
    if (length > model.context_limit()) continue;
    KVS_ASSIGN(const auto some, measure(model, coder, length, folder.file("s.kvz"), here));
    all.insert(all.end(), some.begin(), some.end());
  }
  return all;
}

}  // namespace

BenchCase restore_bench() {
  return {"restore", "A packed session into llama.cpp's cache, and out of it", run};
}

}  // namespace kvsplice::bench
