#include <fmt/format.h>

#include <algorithm>

#include "api/errors.h"
#include "api/handles.h"
#include "api/states.h"
#include "api/views.h"
#include "gguf/model_file.h"

using namespace kvsplice;
using namespace kvsplice::api;

namespace {

using codec::Embeddings;
using session::SessionReader;

session::Coder coder_of(ModelShape shape, const kvs_codec* codec,
                        const std::optional<Embeddings>& embeddings) {
  return {std::move(shape), codec != nullptr ? codec->codec.get() : nullptr,
          embeddings ? &*embeddings : nullptr};
}

Result<KvView> cached_view(const kvs_block* block, const ModelShape& shape) {
  KVS_ASSIGN(KvView view, view_of(block, shape));
  if (view.space == Space::cached) return view;
  return Error{ErrorKind::usage, "keys in raw space; sessions take KVS_CACHED"};
}

Result<std::span<const int32_t>> pending_of(const int32_t* tokens, size_t n) {
  if (tokens == nullptr && n > 0) return missing("pending tokens");
  return std::span(tokens, n);
}

session::PackOptions pack_options_of(const kvs_pack_options* lent) {
  session::PackOptions options;
  if (lent == nullptr) return options;
  if (lent->block_tokens > 0) options.block_tokens = lent->block_tokens;
  options.sinks = lent->sinks;
  options.window = lent->window;
  return options;
}

void tell_what_is_odd(const SessionReader& reader, const Options& options) {
  if (reader.ignored_bytes() == 0 || !options.log) return;
  const std::string message =
      fmt::format("{}: {} bytes behind its end are ignored: an append was interrupted",
                  reader.name(), reader.ignored_bytes());
  options.log->write(options.log->user, message.c_str());
}

Result<> check_range(size_t first, size_t count, size_t size) {
  if (first <= size && count <= size - first) return {};
  return Error{ErrorKind::usage,
               fmt::format("{} tokens from number {} on, of a session of {}", count, first, size)};
}

bool all_halves(const kvs_block& block, size_t layers) {
  for (Kind kind : {Kind::key, Kind::value}) {
    const kvs_rows* rows = rows_of(block, kind);
    if (std::any_of(rows, rows + layers, [](auto& r) { return r.element != KVS_F16; }))
      return false;
  }
  return true;
}

Result<> read_halves(const kvs_session& from, size_t first, const kvs_block& block, size_t absent) {
  return from.session->read(first, block.count, place_of(block, from.shape, absent),
                            from.options.progress);
}

// Where the records end in which `at` and the next tokens lie, so that none is decoded twice.
size_t end_of_records(const kvs_session& from, size_t at, size_t end) {
  constexpr size_t kAtOnce = 512;
  for (const session::Record& r : from.session->file().index().records) {
    if (r.first + r.count >= at + kAtOnce) return std::min(end, r.first + r.count);
  }
  return end;
}

// Some at a time, so that the halves of a session take little memory beside the caller's rows.
Result<> read_others(const kvs_session& from, size_t first, const kvs_block& block) {
  const size_t end = first + block.count;
  for (size_t at = first, next; at < end; at = next) {
    KVS_TRY(from.options.progress.step("restore", at - first, block.count));
    next = end_of_records(from, at, end);
    KVS_ASSIGN(const auto cells, from.session->read(at, next - at, {}));
    for (Kind kind : {Kind::key, Kind::value}) {
      for (size_t l = 0; l < from.shape.layers.size(); ++l) {
        const size_t skip = from.shape.layers[l].window > 0 ? cells.absent : 0;
        const auto halves = cells.of(kind)[l].view().row_range(skip, next - at - skip);
        Matrix<float> rows(halves.rows, halves.cols);
        read_rows(halves, rows);
        write(rows, at - first + skip, rows_of(block, kind)[l]);
      }
    }
  }
  return {};
}

// A session without a codec does not say which layers are recurrent; a state of it does.
Result<std::vector<RecurrentLayer>> recurrent_layers(const SessionReader& there,
                                                     const LentStates& more) {
  if (there.index().states.empty()) return layers_of(more);
  KVS_ASSIGN(auto state, there.read_state(there.state_positions().front()));
  return layers_of({.states = {std::move(state)}});
}

Result<session::RecurrentState> read_state(const kvs_session& from, size_t position) {
  if (from.codec != nullptr) return from.session->state_at(position);
  return from.session->file().read_state(position);
}

uint64_t state_bytes(const SessionReader& file, size_t position) {
  for (const session::StoredState& s : file.index().states) {
    if (s.record.first == position) return s.bytes;
  }
  return 0;
}

// What is packed, as the caller says it.
struct Packing {
  const kvs_block* block;
  const int32_t* pending;
  size_t pending_count;
  const kvs_codec* codec;
  const kvs_model* model;
  const kvs_embeddings* embeddings;
  const kvs_pack_options* options;
};

// Out: a path or a sink.
template <class Out>
Result<> write(const Packing& what, const Options& own, Out out) {
  const kvs_codec* codec = what.codec;
  if (codec == nullptr && what.model == nullptr) return missing("codec and no model");
  KVS_ASSIGN(ModelShape shape, codec != nullptr ? codec->codec->shape() : shape_of(*what.model));
  KVS_ASSIGN(const KvView view, cached_view(what.block, shape));
  KVS_ASSIGN(const auto behind, pending_of(what.pending, what.pending_count));
  KVS_ASSIGN(const LentStates states, states_of(*what.block, shape.hybrid()));
  if (codec == nullptr) {
    KVS_ASSIGN(shape.recurrent, layers_of(states));
  }
  KVS_ASSIGN(const auto embeddings,
             embeddings_for(codec ? codec->codec.get() : nullptr, what.embeddings));
  const OnLentThreads threads(own);
  return session::pack(std::move(out), view, behind, coder_of(std::move(shape), codec, embeddings),
                       pack_options_of(what.options), own.progress, states.to_store());
}

Result<std::unique_ptr<kvs_session>> opened(SessionReader reader, const kvs_codec* codec,
                                            const kvs_embeddings* lent, Options options) {
  auto made = std::make_unique<kvs_session>();
  made->options = std::move(options);
  if (codec != nullptr) made->codec = codec->codec;
  made->shape = codec != nullptr ? codec->codec->shape() : session::shape_of(reader.info());
  KVS_ASSIGN(made->embeddings, embeddings_for(made->codec.get(), lent));
  KVS_ASSIGN(made->session, session::Session::open(std::move(reader),
                                                   coder_of(made->shape, codec, made->embeddings)));
  KVS_TRY(made->options.limits.check(made->session->file().name(), made->session->size(), 0));
  tell_what_is_odd(made->session->file(), made->options);
  return made;
}

kvs_status open(const kvs_codec* codec, const kvs_embeddings* lent, const kvs_options* options,
                kvs_session** session, kvs_error* error,
                const std::function<Result<SessionReader>()>& read) {
  if (session != nullptr) *session = nullptr;
  return guarded(error, [&]() -> Result<> {
    if (session == nullptr) return missing("place for the session");
    KVS_ASSIGN(Options own, Options::of(options));
    KVS_ASSIGN(SessionReader reader, read());
    KVS_ASSIGN(auto made, opened(std::move(reader), codec, lent, std::move(own)));
    *session = made.release();
    return {};
  });
}

}  // namespace

extern "C" {

kvs_status kvs_model_fingerprint(const char* path, char fingerprint[33], kvs_error* error) {
  return guarded(error, [&]() -> Result<> {
    if (path == nullptr) return missing("path");
    if (fingerprint == nullptr) return missing("place for the fingerprint");
    KVS_ASSIGN(const std::string digits, gguf::fingerprint_of_model(path));
    std::copy_n(digits.c_str(), digits.size() + 1, fingerprint);
    return {};
  });
}

kvs_status kvs_session_pack(const char* path, const kvs_block* block, const int32_t* pending,
                            size_t pending_count, const kvs_codec* codec, const kvs_model* model,
                            const kvs_embeddings* embeddings, const kvs_pack_options* pack,
                            const kvs_options* options, kvs_error* error) {
  return guarded(error, [&]() -> Result<> {
    if (path == nullptr) return missing("path");
    const Packing what{block, pending, pending_count, codec, model, embeddings, pack};
    KVS_ASSIGN(const Options own, Options::of(options));
    return write(what, own, std::string(path));
  });
}

kvs_status kvs_session_pack_bytes(const kvs_block* block, const int32_t* pending,
                                  size_t pending_count, const kvs_codec* codec,
                                  const kvs_model* model, const kvs_embeddings* embeddings,
                                  const kvs_pack_options* pack, const kvs_options* options,
                                  kvs_buffer* bytes, kvs_error* error) {
  if (bytes != nullptr) *bytes = kvs_buffer{};
  return guarded(error, [&]() -> Result<> {
    if (bytes == nullptr) return missing("place for the bytes");
    const Packing what{block, pending, pending_count, codec, model, embeddings, pack};
    KVS_ASSIGN(const Options own, Options::of(options));
    LentBytes packed(own);
    KVS_TRY(write(what, own,
                  session::SessionSink([&](ByteSpan piece) { return packed.append(piece); })));
    return packed.hand_out(*bytes);
  });
}

kvs_status kvs_session_pack_output(const kvs_output* output, const kvs_block* block,
                                   const int32_t* pending, size_t pending_count,
                                   const kvs_codec* codec, const kvs_model* model,
                                   const kvs_embeddings* embeddings, const kvs_pack_options* pack,
                                   const kvs_options* options, kvs_error* error) {
  return guarded(error, [&]() -> Result<> {
    KVS_ASSIGN(session::SessionSink sink, sink_of(output));
    const Packing what{block, pending, pending_count, codec, model, embeddings, pack};
    KVS_ASSIGN(const Options own, Options::of(options));
    return write(what, own, std::move(sink));
  });
}

kvs_status kvs_session_extend(const char* path, const kvs_block* block, const int32_t* pending,
                              size_t pending_count, const kvs_codec* codec,
                              const kvs_embeddings* lent, const kvs_options* options,
                              kvs_error* error) {
  return guarded(error, [&]() -> Result<> {
    if (path == nullptr) return missing("path");
    KVS_ASSIGN(const Options own, Options::of(options));
    KVS_ASSIGN(const session::SessionReader there, session::SessionReader::open(path));
    ModelShape shape = codec ? codec->codec->shape() : session::shape_of(there.info());
    KVS_ASSIGN(const KvView view, cached_view(block, shape));
    KVS_ASSIGN(const auto behind, pending_of(pending, pending_count));
    const bool hybrid = shape.hybrid() || !there.index().states.empty();
    KVS_ASSIGN(const LentStates states, states_of(*block, hybrid));
    if (codec == nullptr) {
      KVS_ASSIGN(shape.recurrent, recurrent_layers(there, states));
    }
    KVS_ASSIGN(const auto embeddings, embeddings_for(codec ? codec->codec.get() : nullptr, lent));
    KVS_TRY(own.limits.check(path, there.index().tokens() + view.count(), 0));
    const OnLentThreads threads(own);
    return session::extend(path, view, behind, coder_of(std::move(shape), codec, embeddings),
                           own.progress, states.to_store());
  });
}

kvs_status kvs_session_open(const char* path, const kvs_codec* codec,
                            const kvs_embeddings* embeddings, const kvs_options* options,
                            kvs_session** session, kvs_error* error) {
  return open(codec, embeddings, options, session, error, [&]() -> Result<SessionReader> {
    if (path == nullptr) return missing("path");
    return SessionReader::open(path);
  });
}

kvs_status kvs_session_open_bytes(const void* bytes, size_t size, const kvs_codec* codec,
                                  const kvs_embeddings* embeddings, const kvs_options* options,
                                  kvs_session** session, kvs_error* error) {
  return open(codec, embeddings, options, session, error, [&]() -> Result<SessionReader> {
    if (bytes == nullptr) return missing("bytes");
    return SessionReader::open(view_source({static_cast<const uint8_t*>(bytes), size}),
                               "the session");
  });
}

kvs_status kvs_session_open_source(const kvs_source* source, const kvs_codec* codec,
                                   const kvs_embeddings* embeddings, const kvs_options* options,
                                   kvs_session** session, kvs_error* error) {
  return open(codec, embeddings, options, session, error, [&]() -> Result<SessionReader> {
    KVS_ASSIGN(auto held, source_of(source));
    return SessionReader::open(std::move(held), "the session");
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

int kvs_session_layer_number(const kvs_session* session, int layer) {
  if (layer < 0 || layer >= kvs_session_layers(session)) return -1;
  return session->shape.layers[static_cast<size_t>(layer)].layer;
}

const char* kvs_session_model(const kvs_session* session) {
  return session == nullptr ? "" : session->session->file().info().model.c_str();
}

const char* kvs_session_codec(const kvs_session* session) {
  return session == nullptr ? "" : session->session->file().info().codec.c_str();
}

kvs_status kvs_session_tokens(const kvs_session* session, size_t first, size_t count,
                              int32_t* tokens, kvs_error* error) {
  return guarded(error, [&]() -> Result<> {
    if (session == nullptr) return missing("session");
    if (tokens == nullptr && count > 0) return missing("place for the tokens");
    const session::SessionReader& file = session->session->file();
    KVS_TRY(check_range(first, count, kvs_session_size(session) + kvs_session_pending(session)));
    KVS_ASSIGN(std::vector<int32_t> all, session::read_tokens(file));
    all.insert(all.end(), file.index().pending.begin(), file.index().pending.end());
    std::copy_n(all.begin() + static_cast<ptrdiff_t>(first), count, tokens);
    return {};
  });
}

size_t kvs_session_states(const kvs_session* session) {
  return session == nullptr ? 0 : session->session->file().index().states.size();
}

size_t kvs_session_state_position(const kvs_session* session, size_t i) {
  if (i >= kvs_session_states(session)) return 0;
  return session->session->file().index().states[i].record.first;
}

kvs_status kvs_session_state(const kvs_session* session, size_t position, kvs_state* state,
                             kvs_buffer* memory, kvs_error* error) {
  if (state != nullptr) *state = kvs_state{};
  if (memory != nullptr) *memory = kvs_buffer{};
  return guarded(error, [&]() -> Result<> {
    if (session == nullptr) return missing("session");
    if (state == nullptr) return missing("place for the state");
    if (memory == nullptr) return missing("place for the state's memory");
    KVS_TRY(session->options.limits.check("what is read", 0,
                                          state_bytes(session->session->file(), position)));
    KVS_ASSIGN(const auto read, read_state(*session, position));
    return hand_out(read, session->options, *state, *memory);
  });
}

kvs_status kvs_session_read(const kvs_session* session, size_t first, kvs_block* block,
                            kvs_error* error) {
  return guarded(error, [&]() -> Result<> {
    if (session == nullptr) return missing("session");
    if (block == nullptr) return missing("block");
    KVS_ASSIGN(const Space space, space_of(block->space));
    if (space != Space::cached) {
      return Error{ErrorKind::usage, "keys in raw space; sessions give KVS_CACHED"};
    }
    KVS_TRY(check_range(first, block->count, session->session->size()));
    KVS_TRY(session->options.limits.check("what is read", 0,
                                          block->count * session->shape.f16_bytes_per_token()));
    size_t absent = 0;
    if (session->shape.longest_window() > 0) {
      KVS_ASSIGN(const auto outline, session->session->outline(first, block->count));
      absent = outline.absent;
    }
    KVS_TRY(check_place(*block, session->shape, absent));
    const OnLentThreads threads(session->options);
    if (all_halves(*block, session->shape.layers.size())) {
      KVS_TRY(read_halves(*session, first, *block, absent));
    } else {
      KVS_TRY(read_others(*session, first, *block));
    }
    block->absent = absent;
    return {};
  });
}

}  // extern "C"
