// kvsplice._core: the C interface as Python sees it. What is convenient stands in kvsplice/*.py.
#include <nanobind/nanobind.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/vector.h>

#include <memory>
#include <numeric>
#include <optional>

#include "codec.h"
#include "states.h"
#ifdef KVSPLICE_STORE
#include "store.h"
#endif

namespace kvsplice::python {
namespace {

struct FreeSession {
  void operator()(kvs_session* session) const { kvs_session_free(session); }
};

// The embeddings and the bytes that it reads are kept alive.
struct Session {
  std::unique_ptr<Lookup> lookup;
  Data data;  // of one that was opened from memory
  std::unique_ptr<kvs_session, FreeSession> c;
  std::vector<kvs_layer> layers;

  static Session open(const std::string& path, const Codec* codec, nb::object embeddings) {
    Session made{std::make_unique<Lookup>(std::move(embeddings)), {}, nullptr, {}};
    made.take([&](kvs_session** session, kvs_error* e) {
      return kvs_session_open(path.c_str(), codec ? codec->c.get() : nullptr, made.lookup->c(),
                              nullptr, session, e);
    });
    return made;
  }

  static Session open_bytes(Data data, const Codec* codec, nb::object embeddings) {
    Session made{std::make_unique<Lookup>(std::move(embeddings)), std::move(data), nullptr, {}};
    made.take([&](kvs_session** session, kvs_error* e) {
      return kvs_session_open_bytes(made.data.data(), made.data.size(),
                                    codec ? codec->c.get() : nullptr, made.lookup->c(), nullptr,
                                    session, e);
    });
    return made;
  }

  // Holds what `opened` makes.
  template <class F>
  void take(const F& opened) {
    kvs_session* session = nullptr;
    call(*lookup, [&](kvs_error* e) { return opened(&session, e); });
    c.reset(session);
    for (int l = 0; l < kvs_session_layers(session); ++l) {
      layers.push_back(kvs_session_layer(session, l));
    }
  }

  void read_tokens(nb::ndarray<int32_t, nb::ndim<1>, nb::c_contig, nb::device::cpu> out) const {
    const size_t n = kvs_session_size(c.get()) + kvs_session_pending(c.get());
    if (out.shape(0) != n) {
      throw StatusError{KVS_ERROR_USAGE, "room for " + std::to_string(out.shape(0)) + " of " +
                                             std::to_string(n) + " tokens"};
    }
    call([&](kvs_error* e) { return kvs_session_tokens(c.get(), 0, n, out.data(), e); });
  }

  size_t read_into(size_t first, size_t count, const Arrays& keys, const Arrays& values) {
    const Rows k = Rows::write(keys, KVS_KEY, layers, count);
    const Rows v = Rows::write(values, KVS_VALUE, layers, count);
    kvs_block block{count, nullptr, nullptr, KVS_CACHED, k.c(), v.c(), 0, nullptr};
    call(*lookup, [&](kvs_error* e) { return kvs_session_read(c.get(), first, &block, e); });
    return block.absent;
  }

  std::vector<size_t> states() const {
    std::vector<size_t> positions(kvs_session_states(c.get()));
    for (size_t i = 0; i < positions.size(); ++i) {
      positions[i] = kvs_session_state_position(c.get(), i);
    }
    return positions;
  }

  StateTuple state(size_t position) const {
    kvs_state state{};
    kvs_buffer memory{};
    call([&](kvs_error* e) { return kvs_session_state(c.get(), position, &state, &memory, e); });
    const std::unique_ptr<kvs_buffer, void (*)(kvs_buffer*)> owner(&memory, kvs_buffer_free);
    return to_python(state);
  }
};

// Without a path: to memory. With one the bytes are in the file, and none are returned.
nb::bytes pack(const std::optional<std::string>& path, const Numbers& tokens,
               const Numbers& positions, const Arrays& keys, const Arrays& values, size_t absent,
               const Numbers& pending, const Codec* codec, const std::string& fingerprint,
               const std::string& architecture, const std::vector<LayerNumbers>& layers,
               const std::vector<int>& layer_numbers, const nb::object& embeddings,
               size_t block_tokens, size_t sinks, size_t window, const StateTuples& states,
               kvs_state_encoding encoding) {
  check_count(tokens, positions);
  const size_t count = tokens.shape(0);
  std::vector<kvs_layer> shape;
  for (const LayerNumbers& numbers : layers) shape.push_back(layer_of(numbers));
  const kvs_model model{
      fingerprint.c_str(),  nullptr,
      architecture.c_str(), static_cast<int>(shape.size()),
      shape.data(),         layer_numbers.empty() ? nullptr : layer_numbers.data()};
  if (!layer_numbers.empty() && layer_numbers.size() != shape.size()) {
    throw StatusError{KVS_ERROR_USAGE, std::to_string(layer_numbers.size()) + " layer numbers, " +
                                           std::to_string(shape.size()) + " layers"};
  }
  const auto& wanted = codec != nullptr ? codec->layers : shape;
  const Rows k = Rows::read(keys, KVS_KEY, wanted, count);
  const Rows v = Rows::read(values, KVS_VALUE, wanted, count);
  const States held(states, encoding, 0);
  const kvs_block block{count, tokens.data(), positions.data(), KVS_CACHED,
                        k.c(), v.c(),         absent,           held.c()};
  const kvs_pack_options how{block_tokens, sinks, window};
  const kvs_codec* by = codec ? codec->c.get() : nullptr;
  Lookup lookup(embeddings);
  kvs_buffer bytes{};
  call(lookup, [&](kvs_error* e) {
    return path ? kvs_session_pack(path->c_str(), &block, pending.data(), pending.shape(0), by,
                                   &model, lookup.c(), &how, nullptr, e)
                : kvs_session_pack_bytes(&block, pending.data(), pending.shape(0), by, &model,
                                         lookup.c(), &how, nullptr, &bytes, e);
  });
  const std::unique_ptr<kvs_buffer, void (*)(kvs_buffer*)> owner(&bytes, kvs_buffer_free);
  return nb::bytes(bytes.data, bytes.size);
}

void extend(const std::string& path, const Numbers& tokens, const Arrays& keys,
            const Arrays& values, size_t absent, const Numbers& pending, const Codec* codec,
            const nb::object& embeddings, std::optional<int32_t> first, const StateTuples& states,
            kvs_state_encoding encoding, size_t instead_of) {
  const size_t count = tokens.shape(0);
  const Session there = Session::open(path, codec, embeddings);
  std::vector<int32_t> positions(count);
  const auto behind = static_cast<int32_t>(kvs_session_size(there.c.get()));
  std::iota(positions.begin(), positions.end(), first.value_or(behind));
  const Rows k = Rows::read(keys, KVS_KEY, there.layers, count);
  const Rows v = Rows::read(values, KVS_VALUE, there.layers, count);
  const States held(states, encoding, instead_of);
  const kvs_block block{count, tokens.data(), positions.data(), KVS_CACHED,
                        k.c(), v.c(),         absent,           held.c()};
  call(*there.lookup, [&](kvs_error* e) {
    return kvs_session_extend(path.c_str(), &block, pending.data(), pending.shape(0),
                              codec ? codec->c.get() : nullptr, there.lookup->c(), nullptr, e);
  });
}

std::string model_fingerprint(const std::string& path) {
  char digits[33];
  call([&](kvs_error* e) { return kvs_model_fingerprint(path.c_str(), digits, e); });
  return digits;
}

void raise(const std::exception_ptr& thrown, void*) {
  try {
    std::rethrow_exception(thrown);
  } catch (const StatusError& e) {
    const nb::object type = nb::module_::import_("kvsplice.errors").attr("Error");
    const nb::object error = type(e.message, static_cast<int>(e.status));
    PyErr_SetObject(type.ptr(), error.ptr());
  }
}

template <class T>
std::vector<LayerNumbers> layers_of(const T& of) {
  std::vector<LayerNumbers> numbers;
  for (const kvs_layer& layer : of.layers) numbers.push_back(numbers_of(layer));
  return numbers;
}

}  // namespace
}  // namespace kvsplice::python

using namespace kvsplice::python;
using namespace nanobind::literals;

NB_MODULE(_core, m) {
  m.doc() = "The C interface of KVSplice. kvsplice/*.py is what programs call.";
  nb::register_exception_translator(raise);
  m.def("version", &kvs_version);
  m.def("model_fingerprint", &model_fingerprint, "path"_a);

  nb::class_<Codec>(m, "Codec")
      .def_static("open", &Codec::open, "path"_a)
      .def_static("open_bytes", &Codec::open_bytes, "data"_a)
      .def_prop_ro("layers", &layers_of<Codec>)
      .def_prop_ro("layer_numbers", &Codec::layer_numbers)
      .def_prop_ro("recurrent_layers", &Codec::recurrent_layers)
      .def_prop_ro("pipeline", [](const Codec& c) { return kvs_codec_pipeline(c.c.get()); })
      .def_prop_ro("fingerprint", [](const Codec& c) { return kvs_codec_fingerprint(c.c.get()); })
      .def_prop_ro("model", [](const Codec& c) { return kvs_codec_model(c.c.get()); })
      .def_prop_ro("embedding_dim",
                   [](const Codec& c) { return kvs_codec_embedding_dim(c.c.get()); })
      .def_prop_ro("is_lossless",
                   [](const Codec& c) { return kvs_codec_is_lossless(c.c.get()) != 0; })
      .def_prop_ro("block_tokens", [](const Codec& c) { return kvs_codec_block_tokens(c.c.get()); })
      .def("encode", &Codec::encode, "tokens"_a, "positions"_a, "keys"_a, "values"_a, "cached"_a,
           "absent"_a, "embeddings"_a.none())
      .def("decode_into", &Codec::decode_into, "data"_a, "tokens"_a, "positions"_a, "cached"_a,
           "embeddings"_a.none(), "keys"_a, "values"_a);

  nb::class_<Session>(m, "Session")
      .def_static("open", &Session::open, "path"_a, "codec"_a.none(), "embeddings"_a.none())
      .def_static("open_bytes", &Session::open_bytes, "data"_a.noconvert(), "codec"_a.none(),
                  "embeddings"_a.none())
      .def_prop_ro("layers", &layers_of<Session>)
      .def_prop_ro("size", [](const Session& s) { return kvs_session_size(s.c.get()); })
      .def_prop_ro("pending", [](const Session& s) { return kvs_session_pending(s.c.get()); })
      .def_prop_ro("model", [](const Session& s) { return kvs_session_model(s.c.get()); })
      .def("read_tokens", &Session::read_tokens, "out"_a.noconvert())
      .def_prop_ro("states", &Session::states)
      .def("state", &Session::state, "position"_a)
      .def("read_into", &Session::read_into, "first"_a, "count"_a, "keys"_a, "values"_a);

  m.def("pack", &pack, "path"_a.none(), "tokens"_a, "positions"_a, "keys"_a, "values"_a, "absent"_a,
        "pending"_a, "codec"_a.none(), "fingerprint"_a, "architecture"_a, "layers"_a,
        "layer_numbers"_a, "embeddings"_a.none(), "block_tokens"_a, "sinks"_a, "window"_a,
        "states"_a.none(), "encoding"_a);
  m.def("extend", &extend, "path"_a, "tokens"_a, "keys"_a, "values"_a, "absent"_a, "pending"_a,
        "codec"_a.none(), "embeddings"_a.none(), "first"_a.none(), "states"_a.none(), "encoding"_a,
        "instead_of"_a);

#ifdef KVSPLICE_STORE
  bind_store(m);
#endif
}
