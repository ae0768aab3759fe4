#include <fmt/format.h>

#include "api/errors.h"
#include "api/handles.h"
#include "api/views.h"
#include "core/version.h"

namespace kvsplice::api {

namespace {

Error missing(const char* what) { return {ErrorKind::usage, fmt::format("no {}", what)}; }

kvs_options options_of(const kvs_options* options) {
  return options != nullptr ? *options : kvs_options{};
}

kvs_status open(const kvs_options* options, kvs_codec** codec, kvs_error* error,
                const std::function<Result<codec::Codec>(const ReadLimits&)>& load) {
  if (codec != nullptr) *codec = nullptr;
  const kvs_options own = options_of(options);
  return guarded(own.executor, error, [&]() -> Result<> {
    if (codec == nullptr) return missing("place for the codec");
    KVS_ASSIGN(codec::Codec loaded, load(limits_of(options)));
    std::string pipeline = codec::print(loaded.text()), fingerprint = loaded.fingerprint();
    *codec = new kvs_codec{std::move(loaded), own, std::move(pipeline), std::move(fingerprint)};
    return {};
  });
}

// A codec file that is read by a caller's function.
class LentSource : public ByteSource {
 public:
  explicit LentSource(const kvs_source& lent) : lent_(lent) {}
  uint64_t size() const override { return lent_.size; }
  Result<> read(uint64_t offset, void* out, size_t n) const override {
    if (offset > lent_.size || n > lent_.size - offset) {
      return Error{ErrorKind::format, fmt::format("{} bytes at {} of {}", n, offset, lent_.size)};
    }
    if (n == 0 || lent_.read(lent_.user, offset, out, n) == 0) return {};
    return Error{ErrorKind::io, fmt::format("the caller could not read {} bytes at {}", n, offset)};
  }

 private:
  kvs_source lent_;
};

// Bodies on several threads may fail at once; the sink's wish to stop is one of them.
KvSink sink_of(kvs_sink sink, void* user) {
  return [sink, user](Kind kind, size_t layer, MatrixView<const float> rows) -> Result<> {
    const int stop = sink(user, kind_of(kind), static_cast<int>(layer), rows.data, rows.rows,
                          rows.cols, rows.stride);
    if (stop == 0) return {};
    return Error{ErrorKind::interrupted, "the caller asked to stop"};
  };
}

struct Call {
  std::span<const int32_t> tokens, positions;
  std::optional<codec::Embeddings> embeddings;
};

Result<Call> call_of(const void* bytes, size_t size, const int32_t* tokens,
                     const int32_t* positions, size_t count, const kvs_embeddings* embeddings) {
  if (bytes == nullptr && size > 0) return missing("bytes");
  if (count > 0 && (tokens == nullptr || positions == nullptr)) {
    return missing("tokens or positions");
  }
  if (count > limits::kTokens) {
    return Error{ErrorKind::usage, fmt::format("{} tokens; at most {}", count, limits::kTokens)};
  }
  return Call{{tokens, count}, {positions, count}, embeddings_of(embeddings)};
}

ByteSpan span_of(const void* bytes, size_t size) {
  return {static_cast<const uint8_t*>(bytes), size};
}

}  // namespace

}  // namespace kvsplice::api

using namespace kvsplice;
using namespace kvsplice::api;

extern "C" {

const char* kvs_version(void) { return version(); }

kvs_format_range kvs_codec_formats(void) { return {1, 1}; }

kvs_format_range kvs_session_formats(void) { return {1, session::kFormatVersion}; }

void kvs_buffer_free(kvs_buffer* buffer) {
  if (buffer == nullptr || buffer->data == nullptr) return;
  if (buffer->allocator.release != nullptr) {
    buffer->allocator.release(buffer->allocator.user, buffer->data);
  } else {
    std::free(buffer->data);
  }
  *buffer = kvs_buffer{};
}

kvs_status kvs_codec_open(const char* path, const kvs_options* options, kvs_codec** codec,
                          kvs_error* error) {
  return open(options, codec, error, [&](const ReadLimits& limits) -> Result<codec::Codec> {
    if (path == nullptr) return missing("path");
    return codec::Codec::load(path, limits);
  });
}

kvs_status kvs_codec_open_bytes(const void* bytes, size_t size, const kvs_options* options,
                                kvs_codec** codec, kvs_error* error) {
  return open(options, codec, error, [&](const ReadLimits& limits) -> Result<codec::Codec> {
    if (bytes == nullptr) return missing("bytes");
    return codec::Codec::load(view_source(span_of(bytes, size)), "the codec", limits);
  });
}

kvs_status kvs_codec_open_source(const kvs_source* source, const kvs_options* options,
                                 kvs_codec** codec, kvs_error* error) {
  return open(options, codec, error, [&](const ReadLimits& limits) -> Result<codec::Codec> {
    if (source == nullptr || source->read == nullptr) return missing("source");
    return codec::Codec::load(std::make_shared<LentSource>(*source), "the codec", limits);
  });
}

void kvs_codec_free(kvs_codec* codec) { delete codec; }

int kvs_codec_layers(const kvs_codec* codec) {
  return codec == nullptr ? 0 : static_cast<int>(codec->codec.shape().layers.size());
}

kvs_layer kvs_codec_layer(const kvs_codec* codec, int layer) {
  if (layer < 0 || layer >= kvs_codec_layers(codec)) return kvs_layer{};
  return layer_of(codec->codec.shape().layers[static_cast<size_t>(layer)]);
}

const char* kvs_codec_pipeline(const kvs_codec* codec) {
  return codec == nullptr ? "" : codec->pipeline.c_str();
}

const char* kvs_codec_fingerprint(const kvs_codec* codec) {
  return codec == nullptr ? "" : codec->fingerprint.c_str();
}

const char* kvs_codec_model(const kvs_codec* codec) {
  return codec == nullptr ? "" : codec->codec.shape().fingerprint.c_str();
}

int kvs_codec_embedding_dim(const kvs_codec* codec) {
  if (codec == nullptr || !codec->codec.needs_embeddings()) return 0;
  return codec->codec.shape().embedding_dim;
}

int kvs_codec_is_lossless(const kvs_codec* codec) {
  return codec != nullptr && codec->codec.of_cells();
}

size_t kvs_codec_block_tokens(const kvs_codec* codec) {
  return codec == nullptr ? 0 : codec->codec.block_tokens();
}

kvs_status kvs_encode(const kvs_codec* codec, const kvs_block* block,
                      const kvs_embeddings* embeddings, kvs_buffer* bytes, kvs_error* error) {
  if (bytes != nullptr) *bytes = kvs_buffer{};
  return guarded(codec ? codec->options.executor : nullptr, error, [&]() -> Result<> {
    if (codec == nullptr) return missing("codec");
    if (bytes == nullptr) return missing("place for the bytes");
    KVS_ASSIGN(const KvView view, view_of(block, codec->codec.shape()));
    const auto lent = embeddings_of(embeddings);
    KVS_ASSIGN(const Bytes encoded, codec->codec.encode(view, lent ? &*lent : nullptr));
    return hand_out(encoded, codec->options, *bytes);
  });
}

kvs_status kvs_decode(const kvs_codec* codec, const void* bytes, size_t size, const int32_t* tokens,
                      const int32_t* positions, size_t count, kvs_space space,
                      const kvs_embeddings* embeddings, kvs_sink sink, void* user,
                      kvs_error* error) {
  return guarded(codec ? codec->options.executor : nullptr, error, [&]() -> Result<> {
    if (codec == nullptr) return missing("codec");
    if (sink == nullptr) return missing("sink");
    KVS_ASSIGN(const Call call, call_of(bytes, size, tokens, positions, count, embeddings));
    return codec->codec.decode(span_of(bytes, size), call.tokens, call.positions,
                               call.embeddings ? &*call.embeddings : nullptr, space_of(space),
                               sink_of(sink, user));
  });
}

kvs_status kvs_decode_into(const kvs_codec* codec, const void* bytes, size_t size, kvs_block* block,
                           const kvs_embeddings* embeddings, kvs_error* error) {
  return guarded(codec ? codec->options.executor : nullptr, error, [&]() -> Result<> {
    if (codec == nullptr) return missing("codec");
    KVS_TRY(check_place(block, codec->codec.shape()));
    KVS_ASSIGN(const Call call,
               call_of(bytes, size, block->tokens, block->positions, block->count, embeddings));
    const auto sink = [&](Kind kind, size_t layer, MatrixView<const float> rows) -> Result<> {
      write(rows, 0, (kind == Kind::key ? block->keys : block->values)[layer]);
      return {};
    };
    KVS_ASSIGN(const bool lacking, codec->codec.lacks_windows(span_of(bytes, size)));
    KVS_TRY(codec->codec.decode(span_of(bytes, size), call.tokens, call.positions,
                                call.embeddings ? &*call.embeddings : nullptr,
                                space_of(block->space), sink));
    block->absent = lacking ? block->count : 0;
    return {};
  });
}

}  // extern "C"
