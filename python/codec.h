// Codecs, and what calls of the library have in common.
#pragma once

#include <nanobind/nanobind.h>

#include <memory>
#include <tuple>
#include <vector>

#include "arrays.h"

namespace kvsplice::python {

using LayerNumbers = std::tuple<int, int, int, int>;  // KV heads, key dim, value dim, window

inline LayerNumbers numbers_of(const kvs_layer& layer) {
  return {layer.kv_heads, layer.key_dim, layer.value_dim, layer.window};
}

inline kvs_layer layer_of(const LayerNumbers& numbers) {
  const auto& [heads, key_dim, value_dim, window] = numbers;
  return {heads, key_dim, value_dim, window};
}

// Calls the library without Python's lock.
template <class F>
void call(const F& f) {
  kvs_error error{};
  kvs_status status;
  {
    const nb::gil_scoped_release unlocked;
    status = f(&error);
  }
  check(status, error);
}

// The same; what the embeddings threw comes before what the library says of it.
template <class F>
void call(Lookup& lookup, const F& f) {
  try {
    call(f);
  } catch (const StatusError&) {
    lookup.rethrow();
    throw;
  }
}

inline void check_count(const Numbers& tokens, const Numbers& positions) {
  if (tokens.shape(0) == positions.shape(0)) return;
  throw StatusError{KVS_ERROR_USAGE, std::to_string(tokens.shape(0)) + " tokens and " +
                                         std::to_string(positions.shape(0)) + " positions"};
}

struct FreeCodec {
  void operator()(kvs_codec* codec) const { kvs_codec_free(codec); }
};

struct Codec {
  std::unique_ptr<kvs_codec, FreeCodec> c;
  std::vector<kvs_layer> layers;

  static Codec of(kvs_codec* codec) {
    Codec made{std::unique_ptr<kvs_codec, FreeCodec>(codec), {}};
    for (int l = 0; l < kvs_codec_layers(codec); ++l) {
      made.layers.push_back(kvs_codec_layer(codec, l));
    }
    return made;
  }

  static Codec open(const std::string& path) {
    kvs_codec* codec = nullptr;
    call([&](kvs_error* e) { return kvs_codec_open(path.c_str(), nullptr, &codec, e); });
    return of(codec);
  }

  static Codec open_bytes(const nb::bytes& bytes) {
    kvs_codec* codec = nullptr;
    call([&](kvs_error* e) {
      return kvs_codec_open_bytes(bytes.data(), bytes.size(), nullptr, &codec, e);
    });
    return of(codec);
  }

  std::vector<int> layer_numbers() const {
    std::vector<int> numbers(layers.size());
    for (size_t i = 0; i < numbers.size(); ++i) {
      numbers[i] = kvs_codec_layer_number(c.get(), static_cast<int>(i));
    }
    return numbers;
  }

  std::vector<int> recurrent_layers() const {
    std::vector<int> numbers(static_cast<size_t>(kvs_codec_recurrent_layers(c.get())));
    for (size_t i = 0; i < numbers.size(); ++i) {
      numbers[i] = kvs_codec_recurrent_layer(c.get(), static_cast<int>(i));
    }
    return numbers;
  }

  nb::bytes encode(const Numbers& tokens, const Numbers& positions, const Arrays& keys,
                   const Arrays& values, bool cached, size_t absent,
                   const nb::object& embeddings) const {
    check_count(tokens, positions);
    const size_t count = tokens.shape(0);
    const Rows k = Rows::read(keys, KVS_KEY, layers, count);
    const Rows v = Rows::read(values, KVS_VALUE, layers, count);
    const kvs_block block{count, tokens.data(), positions.data(), cached ? KVS_CACHED : KVS_RAW,
                          k.c(), v.c(),         absent,           nullptr};
    Lookup lookup(embeddings);
    kvs_buffer bytes{};
    call(lookup, [&](kvs_error* e) { return kvs_encode(c.get(), &block, lookup.c(), &bytes, e); });
    const std::unique_ptr<kvs_buffer, void (*)(kvs_buffer*)> owner(&bytes, kvs_buffer_free);
    return nb::bytes(bytes.data, bytes.size);
  }

  size_t decode_into(const nb::bytes& bytes, const Numbers& tokens, const Numbers& positions,
                     bool cached, const nb::object& embeddings, const Arrays& keys,
                     const Arrays& values) const {
    check_count(tokens, positions);
    const size_t count = tokens.shape(0);
    const Rows k = Rows::write(keys, KVS_KEY, layers, count);
    const Rows v = Rows::write(values, KVS_VALUE, layers, count);
    kvs_block block{
        count, tokens.data(), positions.data(), cached ? KVS_CACHED : KVS_RAW, k.c(), v.c(),
        0,     nullptr};
    Lookup lookup(embeddings);
    call(lookup, [&](kvs_error* e) {
      return kvs_decode_into(c.get(), bytes.data(), bytes.size(), &block, lookup.c(), e);
    });
    return block.absent;
  }
};

}  // namespace kvsplice::python
