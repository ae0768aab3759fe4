// Prints what a session holds, and the first numbers of its cache:  session file.kvz [codec.gguf]
// Build:  c++ -std=c++20 session.cpp -o session $(pkg-config --cflags --libs kvsplice)
// Sessions of a codec that reads token embeddings cannot be read here: they need the model's.
#include <algorithm>
#include <cstdio>
#include <kvsplice/kvsplice.hpp>
#include <optional>

using kvsplice::Codec, kvsplice::Result, kvsplice::Session;

namespace {

// Places for the rows of some tokens, as floats.
struct Place {
  Place(const Session& session, size_t count) {
    for (int l = 0; l < session.layers(); ++l) {
      const kvs_layer layer = session.layer(l);
      keys.push_back(add(count, layer.kv_heads * layer.key_dim));
      values.push_back(add(count, layer.kv_heads * layer.value_dim));
    }
  }
  kvs_rows add(size_t count, int width) {
    numbers.emplace_back(count * size_t(width));
    return {numbers.back().data(), width, 1, KVS_F32};
  }

  std::vector<std::vector<float>> numbers;
  std::vector<kvs_rows> keys, values;
};

Result<> show(const char* path, const char* codec_path) {
  std::optional<Codec> codec;
  if (codec_path != nullptr) {
    KVS_ASSIGN(codec, Codec::open(std::string(codec_path)));
  }
  KVS_ASSIGN(const Session session, Session::open(path, codec ? &*codec : nullptr));
  KVS_ASSIGN(const std::vector<int32_t> tokens, session.tokens());
  std::printf("%zu tokens, %zu of them pending, of model %s\n", tokens.size(), session.pending(),
              session.model().c_str());
  // The newest tokens have rows in every layer, those with a window included.
  const size_t count = std::min<size_t>(4, session.size());
  const Place place(session, count);
  kvs_block block{count, nullptr, nullptr, KVS_CACHED, place.keys.data(), place.values.data(), 0, nullptr};
  KVS_TRY(session.read(session.size() - count, block));
  if (count > 0) std::printf("key of a token near the end: %.4f ...\n", place.numbers[0][0]);
  return {};
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2 && argc != 3) {
    std::fprintf(stderr, "usage: session file.kvz [codec.gguf]\n");
    return 2;
  }
  const auto done = show(argv[1], argc == 3 ? argv[2] : nullptr);
  if (!done.ok()) std::fprintf(stderr, "session: %s\n", done.error().message.c_str());
  return done.ok() ? 0 : 1;
}
