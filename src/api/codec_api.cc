#include <fmt/format.h>

#include "api/errors.h"
#include "api/handles.h"
#include "api/views.h"
#include "core/version.h"
#include "session/cells.h"

using namespace kvsplice;
using namespace kvsplice::api;

namespace {

using codec::Codec;
using codec::Embeddings;

kvs_status open(const kvs_options* options, kvs_codec** codec, kvs_error* error,
                const std::function<Result<Codec>(const ReadLimits&)>& load) {
  if (codec != nullptr) *codec = nullptr;
  return guarded(error, [&]() -> Result<> {
    if (codec == nullptr) return missing("place for the codec");
    KVS_ASSIGN(Options own, Options::of(options));
    const OnLentThreads threads(own);
    KVS_ASSIGN(Codec loaded, load(own.limits));
    std::string pipeline = print(loaded.text()), fingerprint = loaded.fingerprint();
    *codec = new kvs_codec{std::make_shared<const Codec>(std::move(loaded)), std::move(own),
                           std::move(pipeline), std::move(fingerprint)};
    return {};
  });
}

ByteSpan span_of(const void* bytes, size_t size) {
  return {static_cast<const uint8_t*>(bytes), size};
}

// An encoded block and what stands beside it.
struct Encoded {
  ByteSpan bytes;
  Tokens tokens;
  Space space;
  std::optional<Embeddings> embeddings;

  Result<> decode(const Codec& codec, const KvSink& sink) const {
    return codec.decode(bytes, tokens.tokens, tokens.positions, embeddings ? &*embeddings : nullptr,
                        space, sink);
  }
};

Result<Encoded> encoded_of(const Codec& codec, const void* bytes, size_t size,
                           const kvs_block& described, const kvs_embeddings* lent) {
  if (bytes == nullptr) return missing("bytes");
  Encoded encoded;
  encoded.bytes = span_of(bytes, size);
  KVS_ASSIGN(encoded.tokens, tokens_of(described));
  KVS_TRY(session::check_tokens(encoded.tokens.tokens, codec.shape()));
  KVS_ASSIGN(encoded.space, space_of(described.space));
  KVS_ASSIGN(encoded.embeddings, embeddings_for(&codec, lent));
  return encoded;
}

KvSink sink_of(kvs_sink sink, void* user) {
  return [sink, user](Kind kind, size_t layer, MatrixView<const float> rows) -> Result<> {
    const kvs_kind which = kind == Kind::key ? KVS_KEY : KVS_VALUE;
    if (sink(user, which, int(layer), rows.data, rows.rows, rows.cols, rows.stride) == 0) return {};
    return Error{ErrorKind::interrupted, fmt::format("the caller asked to stop at the {}s of layer "
                                                     "{}",
                                                     name(kind), layer)};
  };
}

}  // namespace

extern "C" {

const char* kvs_version(void) { return version(); }

kvs_format_range kvs_codec_formats(void) { return {1, codec::kCodecFormat}; }

kvs_format_range kvs_session_formats(void) { return {1, session::kNewestFormat}; }

void kvs_buffer_free(kvs_buffer* buffer) {
  if (buffer == nullptr) return;
  if (buffer->allocator.release == nullptr) {
    std::free(buffer->data);
  } else if (buffer->data != nullptr) {
    buffer->allocator.release(buffer->allocator.user, buffer->data);
  }
  *buffer = kvs_buffer{};
}

kvs_status kvs_codec_open(const char* path, const kvs_options* options, kvs_codec** codec,
                          kvs_error* error) {
  return open(options, codec, error, [&](const ReadLimits& limits) -> Result<Codec> {
    if (path == nullptr) return missing("path");
    return Codec::load(path, limits);
  });
}

kvs_status kvs_codec_open_bytes(const void* bytes, size_t size, const kvs_options* options,
                                kvs_codec** codec, kvs_error* error) {
  return open(options, codec, error, [&](const ReadLimits& limits) -> Result<Codec> {
    if (bytes == nullptr) return missing("bytes");
    return Codec::load(view_source(span_of(bytes, size)), "the codec", limits);
  });
}

kvs_status kvs_codec_open_source(const kvs_source* source, const kvs_options* options,
                                 kvs_codec** codec, kvs_error* error) {
  return open(options, codec, error, [&](const ReadLimits& limits) -> Result<Codec> {
    KVS_ASSIGN(auto held, source_of(source));
    return Codec::load(std::move(held), "the codec", limits);
  });
}

void kvs_codec_free(kvs_codec* codec) { delete codec; }

int kvs_codec_layers(const kvs_codec* codec) {
  return codec == nullptr ? 0 : static_cast<int>(codec->codec->shape().layers.size());
}

kvs_layer kvs_codec_layer(const kvs_codec* codec, int layer) {
  if (layer < 0 || layer >= kvs_codec_layers(codec)) return kvs_layer{};
  return layer_of(codec->codec->shape().layers[static_cast<size_t>(layer)]);
}

int kvs_codec_layer_number(const kvs_codec* codec, int layer) {
  if (layer < 0 || layer >= kvs_codec_layers(codec)) return -1;
  return codec->codec->shape().layers[static_cast<size_t>(layer)].layer;
}

int kvs_codec_recurrent_layers(const kvs_codec* codec) {
  return codec == nullptr ? 0 : static_cast<int>(codec->codec->shape().recurrent.size());
}

int kvs_codec_recurrent_layer(const kvs_codec* codec, int i) {
  if (i < 0 || i >= kvs_codec_recurrent_layers(codec)) return -1;
  return codec->codec->shape().recurrent[static_cast<size_t>(i)].layer;
}

const char* kvs_codec_pipeline(const kvs_codec* codec) {
  return codec == nullptr ? "" : codec->pipeline.c_str();
}

const char* kvs_codec_fingerprint(const kvs_codec* codec) {
  return codec == nullptr ? "" : codec->fingerprint.c_str();
}

const char* kvs_codec_model(const kvs_codec* codec) {
  return codec == nullptr ? "" : codec->codec->shape().fingerprint.c_str();
}

int kvs_codec_embedding_dim(const kvs_codec* codec) {
  if (codec == nullptr || !codec->codec->needs_embeddings()) return 0;
  return codec->codec->shape().embedding_dim;
}

int kvs_codec_is_lossless(const kvs_codec* codec) {
  return codec != nullptr && codec->codec->of_cells();
}

size_t kvs_codec_block_tokens(const kvs_codec* codec) {
  return codec == nullptr ? 0 : codec->codec->block_tokens();
}

kvs_status kvs_encode(const kvs_codec* codec, const kvs_block* block, const kvs_embeddings* lent,
                      kvs_buffer* bytes, kvs_error* error) {
  if (bytes != nullptr) *bytes = kvs_buffer{};
  return guarded(error, [&]() -> Result<> {
    if (codec == nullptr) return missing("codec");
    if (bytes == nullptr) return missing("place for the bytes");
    if (block != nullptr && block->states != nullptr) {
      return Error{ErrorKind::usage, "states in a codec's block; sessions keep them"};
    }
    KVS_ASSIGN(const KvView view, view_of(block, codec->codec->shape()));
    KVS_ASSIGN(const auto embeddings, embeddings_for(codec->codec.get(), lent));
    const OnLentThreads threads(codec->options);
    KVS_ASSIGN(const Bytes encoded,
               codec->codec->encode(view, embeddings ? &*embeddings : nullptr));
    return hand_out(encoded, codec->options, *bytes);
  });
}

kvs_status kvs_decode(const kvs_codec* codec, const void* bytes, size_t size, const int32_t* tokens,
                      const int32_t* positions, size_t count, kvs_space space,
                      const kvs_embeddings* embeddings, kvs_sink sink, void* user,
                      kvs_error* error) {
  return guarded(error, [&]() -> Result<> {
    if (codec == nullptr) return missing("codec");
    if (sink == nullptr) return missing("sink");
    const kvs_block described{count, tokens, positions, space, nullptr, nullptr, 0, nullptr};
    KVS_ASSIGN(const Encoded encoded,
               encoded_of(*codec->codec, bytes, size, described, embeddings));
    const OnLentThreads threads(codec->options);
    return encoded.decode(*codec->codec, sink_of(sink, user));
  });
}

kvs_status kvs_decode_into(const kvs_codec* codec, const void* bytes, size_t size, kvs_block* block,
                           const kvs_embeddings* embeddings, kvs_error* error) {
  return guarded(error, [&]() -> Result<> {
    if (codec == nullptr) return missing("codec");
    if (block == nullptr) return missing("block");
    KVS_ASSIGN(const Encoded encoded, encoded_of(*codec->codec, bytes, size, *block, embeddings));
    KVS_ASSIGN(const bool lacking, codec->codec->lacks_windows(encoded.bytes));
    const size_t absent = lacking ? block->count : 0;
    KVS_TRY(check_place(*block, codec->codec->shape(), absent));
    const OnLentThreads threads(codec->options);
    KVS_TRY(encoded.decode(*codec->codec,
                           [&](Kind kind, size_t layer, MatrixView<const float> rows) -> Result<> {
                             write(rows, 0, rows_of(*block, kind)[layer]);
                             return {};
                           }));
    block->absent = absent;
    return {};
  });
}

}  // extern "C"
