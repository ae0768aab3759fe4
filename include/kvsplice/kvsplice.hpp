// KVSplice for C++20, over kvsplice.h: handles that free themselves, spans, and errors as values.
// What the words mean, and shapes, units and threads, are said there.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
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

namespace detail {

inline Error error_of(const kvs_error& error) {
  return {static_cast<ErrorKind>(int(error.status) - 1), error.message};
}

template <class F>
Result<> call(const F& f) {
  kvs_error error;
  return f(&error) == KVS_OK ? Result<>() : Result<>(error_of(error));
}

struct FreeCodec {
  void operator()(kvs_codec* codec) const { kvs_codec_free(codec); }
};
struct FreeSession {
  void operator()(kvs_session* session) const { kvs_session_free(session); }
};

}  // namespace detail

// A fitted codec. Several threads may use one.
class CodecHandle {
 public:
  static Result<CodecHandle> open(const std::string& path, const kvs_options* options = nullptr) {
    kvs_codec* codec = nullptr;
    KVS_TRY(detail::call(
        [&](kvs_error* e) { return kvs_codec_open(path.c_str(), options, &codec, e); }));
    return CodecHandle(codec);
  }
  static Result<CodecHandle> open(std::span<const uint8_t> bytes,
                                  const kvs_options* options = nullptr) {
    kvs_codec* codec = nullptr;
    KVS_TRY(detail::call([&](kvs_error* e) {
      return kvs_codec_open_bytes(bytes.data(), bytes.size(), options, &codec, e);
    }));
    return CodecHandle(codec);
  }

  const kvs_codec* c() const { return codec_.get(); }
  int layers() const { return kvs_codec_layers(c()); }
  kvs_layer layer(int i) const { return kvs_codec_layer(c(), i); }
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
  explicit CodecHandle(kvs_codec* codec) : codec_(codec) {}
  std::unique_ptr<kvs_codec, detail::FreeCodec> codec_;
};

// A session that is read. The codec must live as long.
class SessionHandle {
 public:
  static Result<SessionHandle> open(const std::string& path, const CodecHandle* codec,
                                    const kvs_embeddings* embeddings = nullptr,
                                    const kvs_options* options = nullptr) {
    kvs_session* session = nullptr;
    KVS_TRY(detail::call([&](kvs_error* e) {
      return kvs_session_open(path.c_str(), codec ? codec->c() : nullptr, embeddings, options,
                              &session, e);
    }));
    return SessionHandle(session);
  }

  const kvs_session* c() const { return session_.get(); }
  size_t size() const { return kvs_session_size(c()); }
  size_t pending() const { return kvs_session_pending(c()); }
  int layers() const { return kvs_session_layers(c()); }
  kvs_layer layer(int i) const { return kvs_session_layer(c(), i); }
  std::string model() const { return kvs_session_model(c()); }

  Result<std::vector<int32_t>> tokens() const {
    std::vector<int32_t> all(size() + pending());
    KVS_TRY(detail::call([&](kvs_error* e) { return kvs_session_tokens(c(), all.data(), e); }));
    return all;
  }
  Result<> read(size_t first, kvs_block& block) const {
    return detail::call([&](kvs_error* e) { return kvs_session_read(c(), first, &block, e); });
  }

 private:
  explicit SessionHandle(kvs_session* session) : session_(session) {}
  std::unique_ptr<kvs_session, detail::FreeSession> session_;
};

}  // namespace kvsplice
