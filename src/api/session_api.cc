#include <fmt/format.h>

#include "api/errors.h"
#include "api/handles.h"
#include "api/views.h"

namespace kvsplice::api {

namespace {

Error missing(const char* what) { return {ErrorKind::usage, fmt::format("no {}", what)}; }

// What a session says of its model, which is all that a lossless one needs.
ModelShape shape_of(const session::SessionInfo& info) {
  ModelShape shape;
  shape.fingerprint = info.model;
  shape.model_name = info.model_name;
  shape.architecture = info.architecture;
  shape.layers = info.layers;
  return shape;
}

// A codec, or a model without one, and what they read.
struct Lent {
  session::Coder coder;
  std::optional<codec::Embeddings> embeddings;

  session::Coder with_embeddings() const {
    session::Coder all = coder;
    all.embeddings = embeddings ? &*embeddings : nullptr;
    return all;
  }
};

Lent lent_of(const kvs_codec* codec, ModelShape shape, const kvs_embeddings* embeddings) {
  Lent lent{{codec != nullptr ? codec->codec.shape() : std::move(shape),
             codec != nullptr ? &codec->codec : nullptr, nullptr},
            embeddings_of(embeddings)};
  return lent;
}

std::span<const int32_t> span_of(const int32_t* tokens, size_t n) { return {tokens, n}; }

Result<KvView> cached_view(const kvs_block* block, const ModelShape& shape) {
  KVS_ASSIGN(KvView view, view_of(block, shape));
  if (view.space == Space::cached) return view;
  return Error{ErrorKind::usage, "sessions take keys in cached space, KVS_CACHED"};
}

void tell_what_is_odd(const session::SessionReader& reader, const std::string& path,
                      const kvs_options& options) {
  if (reader.ignored_bytes() == 0 || options.log == nullptr) return;
  const std::string message =
      fmt::format("{}: {} bytes behind its end are ignored: an append was interrupted", path,
                  reader.ignored_bytes());
  options.log->write(options.log->user, message.c_str());
}

kvs_options options_of(const kvs_options* options) {
  return options != nullptr ? *options : kvs_options{};
}

}  // namespace

}  // namespace kvsplice::api

using namespace kvsplice;
using namespace kvsplice::api;

extern "C" {

kvs_status kvs_session_pack(const char* path, const kvs_block* block, const int32_t* pending,
                            size_t pending_count, const kvs_codec* codec, const kvs_model* model,
                            const kvs_embeddings* embeddings, const kvs_pack_options* pack,
                            const kvs_options* options, kvs_error* error) {
  return guarded(options_of(options).executor, error, [&]() -> Result<> {
    if (path == nullptr) return missing("path");
    if (codec == nullptr && model == nullptr) return missing("codec and no model");
    ModelShape shape;
    if (codec == nullptr) {
      KVS_ASSIGN(shape, shape_of(*model));
    }
    const Lent lent = lent_of(codec, std::move(shape), embeddings);
    KVS_ASSIGN(const KvView view, cached_view(block, lent.coder.shape));
    session::PackOptions how;
    if (pack != nullptr) {
      if (pack->block_tokens > 0) how.block_tokens = pack->block_tokens;
      how.sinks = pack->sinks;
      how.window = pack->window;
    }
    return session::pack(std::string(path), view, span_of(pending, pending_count),
                         lent.with_embeddings(), how, {});
  });
}

kvs_status kvs_session_extend(const char* path, const kvs_block* block, const int32_t* pending,
                              size_t pending_count, const kvs_codec* codec,
                              const kvs_embeddings* embeddings, const kvs_options* options,
                              kvs_error* error) {
  return guarded(options_of(options).executor, error, [&]() -> Result<> {
    if (path == nullptr) return missing("path");
    KVS_ASSIGN(const session::SessionReader reader, session::SessionReader::open(path));
    const Lent lent = lent_of(codec, shape_of(reader.info()), embeddings);
    KVS_ASSIGN(const KvView view, cached_view(block, lent.coder.shape));
    return session::extend(std::string(path), view, span_of(pending, pending_count),
                           lent.with_embeddings(), {});
  });
}

kvs_status kvs_session_open(const char* path, const kvs_codec* codec,
                            const kvs_embeddings* embeddings, const kvs_options* options,
                            kvs_session** session, kvs_error* error) {
  if (session != nullptr) *session = nullptr;
  const kvs_options own = options_of(options);
  return guarded(own.executor, error, [&]() -> Result<> {
    if (path == nullptr) return missing("path");
    if (session == nullptr) return missing("place for the session");
    KVS_ASSIGN(const session::SessionReader reader, session::SessionReader::open(path));
    auto made = std::make_unique<kvs_session>();
    Lent lent = lent_of(codec, shape_of(reader.info()), embeddings);
    made->embeddings = std::move(lent.embeddings);
    lent.coder.embeddings = made->embeddings ? &*made->embeddings : nullptr;
    made->shape = lent.coder.shape;
    made->options = own;
    made->limits = limits_of(options);
    KVS_ASSIGN(made->session, session::Session::open(path, lent.coder));
    KVS_TRY(made->limits.check(path, made->session->size(), 0));
    tell_what_is_odd(made->session->file(), path, own);
    *session = made.release();
    return {};
  });
}

void kvs_session_free(kvs_session* session) { delete session; }

size_t kvs_session_size(const kvs_session* session) {
  return session == nullptr ? 0 : session->session->size();
}

size_t kvs_session_pending(const kvs_session* session) {
  return session == nullptr ? 0 : session->session->file().index().pending.size();
}

int kvs_session_layers(const kvs_session* session) {
  return session == nullptr ? 0 : static_cast<int>(session->shape.layers.size());
}

kvs_layer kvs_session_layer(const kvs_session* session, int layer) {
  if (layer < 0 || layer >= kvs_session_layers(session)) return kvs_layer{};
  return layer_of(session->shape.layers[static_cast<size_t>(layer)]);
}

const char* kvs_session_model(const kvs_session* session) {
  return session == nullptr ? "" : session->shape.fingerprint.c_str();
}

kvs_status kvs_session_tokens(const kvs_session* session, int32_t* tokens, kvs_error* error) {
  return guarded(nullptr, error, [&]() -> Result<> {
    if (session == nullptr) return missing("session");
    KVS_ASSIGN(const std::vector<int32_t> all, session::read_tokens(session->session->file()));
    if (tokens == nullptr && !all.empty()) return missing("place for the tokens");
    std::copy(all.begin(), all.end(), tokens);
    return {};
  });
}

kvs_status kvs_session_read(const kvs_session* session, size_t first, kvs_block* block,
                            kvs_error* error) {
  return guarded(session ? session->options.executor : nullptr, error, [&]() -> Result<> {
    if (session == nullptr) return missing("session");
    KVS_TRY(check_place(block, session->shape));
    if (block->space != KVS_CACHED) {
      return Error{ErrorKind::usage, "sessions give keys in cached space, KVS_CACHED"};
    }
    const session::Session& from = *session->session;
    if (first > from.size() || block->count > from.size() - first) {
      return Error{ErrorKind::usage, fmt::format("tokens {} ... {} of a session of {}", first,
                                                 first + block->count, from.size())};
    }
    // Some at a time, so that rows in float take little memory beside the caller's.
    KVS_ASSIGN(const auto outline, from.outline(first, block->count));
    constexpr size_t kAtOnce = 512;
    for (size_t at = 0; at < block->count; at += kAtOnce) {
      const size_t n = std::min(kAtOnce, block->count - at);
      KVS_ASSIGN(const KvBlock<uint16_t> cells, from.read(first + at, n, {}, session->limits));
      const KvView view = cells.view();
      for (Kind kind : {Kind::key, Kind::value}) {
        for (size_t l = 0; l < view.of(kind).size(); ++l) {
          const size_t skip = session->shape.layers[l].window > 0 ? cells.absent : 0;
          const RowsView rows = view.of(kind)[l].row_range(skip, n - skip);
          Matrix<float> values(rows.rows, rows.cols);
          read_rows(rows, values);
          write(values, at + skip, (kind == Kind::key ? block->keys : block->values)[l]);
        }
      }
    }
    block->absent = outline.absent;
    return {};
  });
}

}  // extern "C"
