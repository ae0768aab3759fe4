// KVSplice for C++20, over kvsplice.h: handles that free themselves, spans, and errors as values.
// What the words mean, and shapes, units and threads, are said there.
#pragma once

#if defined(__GNUC__) && __cplusplus <= 201703L
#error "kvsplice.hpp is written in C++20: compile with -std=c++20"
#endif

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "kvsplice/kvsplice.h"
#include "kvsplice/result.h"

namespace kvsplice {

// Bytes that the library has handed out.
class Buffer {
 public:
  Buffer() = default;
  Buffer(Buffer&& other) noexcept : buffer_(std::exchange(other.buffer_, {})) {}
  Buffer& operator=(Buffer&& other) noexcept {
    std::swap(buffer_, other.buffer_);
    return *this;
  }
  ~Buffer() { kvs_buffer_free(&buffer_); }

  std::span<const uint8_t> bytes() const { return {buffer_.data, buffer_.size}; }
  kvs_buffer* c() { return &buffer_; }

 private:
  kvs_buffer buffer_{};
};

// A recurrent state that the library has handed out, with the memory that holds its rows.
struct State {
  kvs_state c{};
  Buffer memory;
};

namespace detail {

// Statuses are the kinds of errors, behind KVS_OK.
static_assert(int(ErrorKind::usage) + 1 == KVS_ERROR_USAGE);
static_assert(int(ErrorKind::interrupted) + 1 == KVS_ERROR_INTERRUPTED);

// Error of what f, given a place for one, reports.
template <class F>
Result<> call(const F& f) {
  kvs_error error;
  if (f(&error) == KVS_OK) return {};
  return Error{static_cast<ErrorKind>(error.status - 1), error.message};
}

struct Free {
  void operator()(kvs_codec* codec) const { kvs_codec_free(codec); }
  void operator()(kvs_session* session) const { kvs_session_free(session); }
};

}  // namespace detail

// What tells a GGUF model from others: 32 hex digits.
inline Result<std::string> model_fingerprint(const std::string& path) {
  char digits[33];
  KVS_TRY(detail::call([&](kvs_error* e) { return kvs_model_fingerprint(path.c_str(), digits, e); }));
  return std::string(digits);
}

// A fitted codec. Several threads may use one.
class Codec {
 public:
  static Result<Codec> open(const std::string& path, const kvs_options* options = nullptr) {
    return made([&](kvs_codec** codec, kvs_error* e) {
      return kvs_codec_open(path.c_str(), options, codec, e);
    });
  }
  static Result<Codec> open(std::span<const uint8_t> bytes, const kvs_options* options = nullptr) {
    return made([&](kvs_codec** codec, kvs_error* e) {
      return kvs_codec_open_bytes(bytes.data(), bytes.size(), options, codec, e);
    });
  }
  static Result<Codec> open(const kvs_source& source, const kvs_options* options = nullptr) {
    return made([&](kvs_codec** codec, kvs_error* e) {
      return kvs_codec_open_source(&source, options, codec, e);
    });
  }

  const kvs_codec* c() const { return codec_.get(); }
  int layers() const { return kvs_codec_layers(c()); }
  kvs_layer layer(int i) const { return kvs_codec_layer(c(), i); }
  std::vector<int> recurrent_layers() const {
    std::vector<int> layers(size_t(kvs_codec_recurrent_layers(c())));
    for (size_t i = 0; i < layers.size(); ++i) layers[i] = kvs_codec_recurrent_layer(c(), int(i));
    return layers;
  }
  std::string pipeline() const { return kvs_codec_pipeline(c()); }
  std::string fingerprint() const { return kvs_codec_fingerprint(c()); }
  std::string model() const { return kvs_codec_model(c()); }
  int embedding_dim() const { return kvs_codec_embedding_dim(c()); }
  bool is_lossless() const { return kvs_codec_is_lossless(c()) != 0; }
  size_t block_tokens() const { return kvs_codec_block_tokens(c()); }

  Result<Buffer> encode(const kvs_block& block, const kvs_embeddings* embeddings = nullptr) const {
    Buffer bytes;
    KVS_TRY(detail::call(
        [&](kvs_error* e) { return kvs_encode(c(), &block, embeddings, bytes.c(), e); }));
    return bytes;
  }
  // To where the block's rows are.
  Result<> decode(std::span<const uint8_t> bytes, kvs_block& block,
                  const kvs_embeddings* embeddings = nullptr) const {
    return detail::call([&](kvs_error* e) {
      return kvs_decode_into(c(), bytes.data(), bytes.size(), &block, embeddings, e);
    });
  }

 private:
  template <class F>
  static Result<Codec> made(const F& open) {
    kvs_codec* codec = nullptr;
    KVS_TRY(detail::call([&](kvs_error* e) { return open(&codec, e); }));
    return Codec(codec);
  }
  explicit Codec(kvs_codec* codec) : codec_(codec) {}

  std::unique_ptr<kvs_codec, detail::Free> codec_;
};

// A session that is read. Several threads may use one. Those in files are written by
// kvs_session_pack and kvs_session_extend.
class Session {
 public:
  // codec: null for lossless sessions.
  static Result<Session> open(const std::string& path, const Codec* codec,
                              const kvs_embeddings* embeddings = nullptr,
                              const kvs_options* options = nullptr) {
    return made([&](kvs_session** session, kvs_error* e) {
      return kvs_session_open(path.c_str(), codec ? codec->c() : nullptr, embeddings, options,
                              session, e);
    });
  }
  // The bytes must stay where they are.
  static Result<Session> open(std::span<const uint8_t> bytes, const Codec* codec,
                              const kvs_embeddings* embeddings = nullptr,
                              const kvs_options* options = nullptr) {
    return made([&](kvs_session** session, kvs_error* e) {
      return kvs_session_open_bytes(bytes.data(), bytes.size(), codec ? codec->c() : nullptr,
                                    embeddings, options, session, e);
    });
  }
  static Result<Session> open(const kvs_source& source, const Codec* codec,
                              const kvs_embeddings* embeddings = nullptr,
                              const kvs_options* options = nullptr) {
    return made([&](kvs_session** session, kvs_error* e) {
      return kvs_session_open_source(&source, codec ? codec->c() : nullptr, embeddings, options,
                                     session, e);
    });
  }
  // The bytes of a new session. model: of lossless ones, which have no codec.
  static Result<Buffer> pack(const kvs_block& block, std::span<const int32_t> pending,
                             const Codec* codec, const kvs_model* model = nullptr,
                             const kvs_embeddings* embeddings = nullptr,
                             const kvs_pack_options* pack = nullptr,
                             const kvs_options* options = nullptr) {
    Buffer bytes;
    KVS_TRY(detail::call([&](kvs_error* e) {
      return kvs_session_pack_bytes(&block, pending.data(), pending.size(),
                                    codec ? codec->c() : nullptr, model, embeddings, pack, options,
                                    bytes.c(), e);
    }));
    return bytes;
  }

  const kvs_session* c() const { return session_.get(); }
  size_t size() const { return kvs_session_size(c()); }
  size_t pending() const { return kvs_session_pending(c()); }
  int layers() const { return kvs_session_layers(c()); }
  kvs_layer layer(int i) const { return kvs_session_layer(c(), i); }
  std::string model() const { return kvs_session_model(c()); }
  std::string codec() const { return kvs_session_codec(c()); }

  // The pending ones last.
  Result<std::vector<int32_t>> tokens() const {
    std::vector<int32_t> all(size() + pending());
    KVS_TRY(detail::call(
        [&](kvs_error* e) { return kvs_session_tokens(c(), 0, all.size(), all.data(), e); }));
    return all;
  }
  Result<> read(size_t first, kvs_block& block) const {
    return detail::call([&](kvs_error* e) { return kvs_session_read(c(), first, &block, e); });
  }
  // Of a hybrid: behind how many tokens a recurrent state is stored.
  std::vector<size_t> states() const {
    std::vector<size_t> positions(kvs_session_states(c()));
    for (size_t i = 0; i < positions.size(); ++i) {
      positions[i] = kvs_session_state_position(c(), i);
    }
    return positions;
  }
  Result<State> state(size_t position) const {
    State state;
    KVS_TRY(detail::call([&](kvs_error* e) {
      return kvs_session_state(c(), position, &state.c, state.memory.c(), e);
    }));
    return state;
  }

 private:
  template <class F>
  static Result<Session> made(const F& open) {
    kvs_session* session = nullptr;
    KVS_TRY(detail::call([&](kvs_error* e) { return open(&session, e); }));
    return Session(session);
  }
  explicit Session(kvs_session* session) : session_(session) {}

  std::unique_ptr<kvs_session, detail::Free> session_;
};

}  // namespace kvsplice
