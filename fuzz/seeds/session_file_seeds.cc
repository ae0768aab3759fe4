#include "core/file.h"
#include "seeds.h"
#include "session/session.h"
#include "small_cells.h"
#include "support/small_codecs.h"

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
  return seeds;
}

}  // namespace

Seeds session_file_seeds() { return {"session_file", make}; }

}  // namespace kvsplice::fuzz
