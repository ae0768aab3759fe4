// Prints what a session holds, and the first numbers of its cache:  session file.kvz [codec.gguf]
// Only lossless sessions, and codecs that read no embeddings, can be read without a model.
#include <cstdio>
#include <kvsplice/kvsplice.hpp>
#include <optional>

namespace {

kvsplice::Result<> show(const char* path, const char* codec_path) {
  std::optional<kvsplice::CodecHandle> codec;
  if (codec_path != nullptr) {
    KVS_ASSIGN(codec, kvsplice::CodecHandle::open(std::string(codec_path)));
  }
  KVS_ASSIGN(const auto session,
             kvsplice::SessionHandle::open(path, codec ? &*codec : nullptr));
  KVS_ASSIGN(const auto tokens, session.tokens());
  std::printf("%zu tokens, %zu of them pending, of model %s\n", tokens.size(), session.pending(),
              session.model().c_str());

  // The rows of the first tokens, as floats, one layer behind the other.
  const size_t count = std::min<size_t>(4, session.size());
  std::vector<std::vector<float>> rows;
  std::vector<kvs_rows> keys, values;
  for (int l = 0; l < session.layers(); ++l) {
    const kvs_layer layer = session.layer(l);
    for (const int dim : {layer.key_dim, layer.value_dim}) {
      const ptrdiff_t width = layer.kv_heads * dim;
      rows.emplace_back(count * size_t(width));
      (keys.size() == values.size() ? keys : values)
          .push_back({rows.back().data(), width, 1, KVS_F32});
    }
  }
  kvs_block block{count, nullptr, nullptr, KVS_CACHED, keys.data(), values.data(), 0};
  KVS_TRY(session.read(0, block));
  std::printf("layer 0, first key: %.4f %.4f %.4f ...\n", rows[0][0], rows[0][1], rows[0][2]);
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
