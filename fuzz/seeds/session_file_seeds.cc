#include "core/file.h"
#include "seeds.h"
#include "session/session.h"
#include "small_cells.h"
#include "support/small_codecs.h"
#include "support/state_shape.h"

namespace kvsplice::fuzz {

namespace {

using namespace session;

constexpr int kWindow = 3;

ModelShape with_window() {
  ModelShape shape = small_shape();
  shape.layers[1].window = kWindow;
  return shape;
}

Result<Bytes> write_session(const Coder& coder, size_t tokens, const std::string& path) {
  const std::vector<int32_t> pending = {7};
  const PackOptions options{8, 2, 3};
  KVS_TRY(pack(path, some_cells(coder.shape, tokens), pending, coder, options, {}));
  return read_file(path);
}

// Of a hybrid model, with a state in the middle and one at the end.
Result<Bytes> write_hybrid(StateEncoding encoding, const std::string& path) {
  constexpr size_t kTokens = 12;
  Coder coder;
  coder.shape = small_shape();
  coder.shape.recurrent = recurrent_layers();
  const RecurrentState states[] = {some_state(coder.shape, 5), some_state(coder.shape, kTokens)};
  KVS_TRY(pack(path, some_cells(coder.shape, kTokens), {}, coder, {8, 2, 3}, {},
               {.states = states, .encoding = encoding}));
  return read_file(path);
}

Result<std::vector<Bytes>> make(const std::string& scratch) {
  Coder lossless, windows, coded;
  lossless.shape = coded.shape = small_shape();
  windows.shape = with_window();
  coded.codec = small_codec(kDefaultPipeline);
  coded.embeddings = &small_embeddings();
  std::vector<Bytes> seeds;
  for (const Coder& coder : {lossless, windows, coded}) {
    for (size_t tokens : {1, 12, 30}) {
      KVS_ASSIGN(Bytes seed, write_session(coder, tokens, scratch));
      seeds.push_back(std::move(seed));
    }
  }
  for (const StateEncoding encoding :
       {StateEncoding::exact, StateEncoding::f16, StateEncoding::q8}) {
    KVS_ASSIGN(Bytes seed, write_hybrid(encoding, scratch));
    seeds.push_back(std::move(seed));
  }
  return seeds;
}

}  // namespace

Seeds session_file_seeds() { return {"session_file", make}; }

}  // namespace kvsplice::fuzz
