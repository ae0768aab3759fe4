#include "store.h"

#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/unique_ptr.h>
#include <nanobind/stl/vector.h>

#include <numeric>

#include "api/errors.h"
#include "api/handles.h"
#include "api/views.h"
#include "codec.h"
#include "core/errors.h"
#include "core/same_cache.h"
#include "store/bank.h"

namespace kvsplice::python {
namespace {

// Does the work without Python's lock.
template <class Work>
void work(const Work& f) {
  call([&](kvs_error* e) { return api::guarded(e, f); });
}

struct Store {
  std::shared_ptr<store::Store> s;

  static Store open(const std::string& folder, uint64_t capacity_bytes) {
    Store made;
    work([&]() -> Result<> {
      KVS_ASSIGN(store::Store opened, store::Store::open(folder, {capacity_bytes, 0}));
      made.s = std::make_shared<store::Store>(std::move(opened));
      return {};
    });
    return made;
  }

  store::Totals totals() const {
    store::Totals totals;
    work([&]() -> Result<> {
      KVS_ASSIGN(totals, s->totals());
      return {};
    });
    return totals;
  }
};

struct Match {
  store::Match m;
};

// Whose cells these are. Without a codec the fingerprint and the layers say it.
Result<ModelShape> shape_of(const Codec* codec, const std::string& fingerprint,
                            const std::vector<kvs_layer>& layers) {
  if (codec == nullptr) {
    const kvs_model model{fingerprint.c_str(), nullptr, nullptr, static_cast<int>(layers.size()),
                          layers.data(),       nullptr};
    return api::shape_of(model);
  }
  const ModelShape& shape = codec->c->codec->shape();
  ModelShape met;
  met.fingerprint = fingerprint;
  if (!fingerprint.empty()) KVS_TRY(same_model("the codec is of", shape, "the model at hand", met));
  return shape;
}

// It stays where it is: the bank within looks at the members before it.
class Bank {
 public:
  static std::unique_ptr<Bank> open(const Store& store, const Codec* codec, nb::object embeddings,
                                    const std::string& fingerprint,
                                    const std::vector<LayerNumbers>& layers,
                                    const std::string& key_type, const std::string& value_type,
                                    const std::string& tenant) {
    std::unique_ptr<Bank> made(new Bank(store.s, std::move(embeddings), tenant));
    for (const LayerNumbers& numbers : layers) made->layers_.push_back(layer_of(numbers));
    work([&]() -> Result<> {
      KVS_ASSIGN(ModelShape shape, shape_of(codec, fingerprint, made->layers_));
      if (codec != nullptr) {
        made->layers_ = codec->layers;
        made->codec_ = codec->c->codec;
      }
      KVS_ASSIGN(made->embeddings_, api::embeddings_for(made->codec_.get(), made->lookup_.c()));
      session::Coder coder{std::move(shape), made->codec_.get(),
                           made->embeddings_ ? &*made->embeddings_ : nullptr};
      made->bank_.emplace(*made->store_, std::move(coder),
                          store::settings_of(key_type, value_type));
      return {};
    });
    return made;
  }

  Match find(const Numbers& tokens) const {
    Match match;
    work([&]() -> Result<> {
      KVS_ASSIGN(match.m, bank_->find(tenant_, span_of(tokens)));
      return {};
    });
    return match;
  }

  void read_into(const Match& match, const Numbers& tokens, const Arrays& keys,
                 const Arrays& values) {
    const size_t count = tokens.shape(0);
    const Rows k = Rows::write(keys, KVS_KEY, layers_, count);
    const Rows v = Rows::write(values, KVS_VALUE, layers_, count);
    const kvs_block block{count, nullptr, nullptr, KVS_CACHED, k.c(), v.c(), 0, nullptr};
    call(lookup_, [&](kvs_error* e) {
      return api::guarded(e, [&]() -> Result<> {
        const ModelShape& shape = bank_->coder().shape;
        KVS_TRY(api::check_place(block, shape, 0));
        for (size_t l = 0; l < layers_.size(); ++l) {
          if (block.keys[l].element == KVS_F16 && block.values[l].element == KVS_F16) continue;
          return usage_error("rows that are not float16 to be read into");
        }
        KVS_TRY(bank_->read(match.m, span_of(tokens), api::place_of(block, shape, 0)));
        store_->touch(match.m);
        return {};
      });
    });
  }

  size_t keep(const Numbers& tokens, const Arrays& keys, const Arrays& values, size_t prompt) {
    const size_t count = tokens.shape(0);
    std::vector<int32_t> positions(count);
    std::iota(positions.begin(), positions.end(), 0);
    const Rows k = Rows::read(keys, KVS_KEY, layers_, count);
    const Rows v = Rows::read(values, KVS_VALUE, layers_, count);
    const kvs_block block{count, tokens.data(), positions.data(), KVS_CACHED, k.c(), v.c(),
                          0,     nullptr};
    size_t stored = 0;
    call(lookup_, [&](kvs_error* e) {
      return api::guarded(e, [&]() -> Result<> {
        KVS_ASSIGN(const KvView cells, api::view_of(&block, bank_->coder().shape));
        KVS_ASSIGN(const store::Bank::Kept kept, bank_->keep(tenant_, cells, prompt));
        stored = kept.stored;
        return {};
      });
    });
    return stored;
  }

  std::vector<LayerNumbers> layers() const {
    std::vector<LayerNumbers> numbers;
    for (const kvs_layer& layer : layers_) numbers.push_back(numbers_of(layer));
    return numbers;
  }

 private:
  Bank(std::shared_ptr<store::Store> store, nb::object embeddings, std::string tenant)
      : store_(std::move(store)), lookup_(std::move(embeddings)), tenant_(std::move(tenant)) {}

  static std::span<const int32_t> span_of(const Numbers& numbers) {
    return {numbers.data(), numbers.shape(0)};
  }

  const std::shared_ptr<store::Store> store_;
  Lookup lookup_;
  const std::string tenant_;
  std::vector<kvs_layer> layers_;
  std::shared_ptr<const codec::Codec> codec_;
  std::optional<codec::Embeddings> embeddings_;
  std::optional<store::Bank> bank_;
};

}  // namespace

void bind_store(nb::module_& m) {
  using namespace nb::literals;
  nb::class_<Store>(m, "Store")
      .def_static("open", &Store::open, "folder"_a, "capacity_bytes"_a)
      .def_prop_ro("bytes", [](const Store& s) { return s.totals().bytes; })
      .def_prop_ro("key", [](const Store& s) { return s.s->key().fingerprint(); });
  nb::class_<Match>(m, "Match").def_prop_ro("tokens", [](const Match& match) {
    return match.m.tokens;
  });
  nb::class_<Bank>(m, "Bank")
      .def_static("open", &Bank::open, "store"_a, "codec"_a.none(), "embeddings"_a.none(),
                  "fingerprint"_a, "layers"_a, "key_type"_a, "value_type"_a, "tenant"_a)
      .def_prop_ro("layers", &Bank::layers)
      .def("find", &Bank::find, "tokens"_a)
      .def("read_into", &Bank::read_into, "match"_a, "tokens"_a, "keys"_a, "values"_a)
      .def("keep", &Bank::keep, "tokens"_a, "keys"_a, "values"_a, "prompt"_a);
}

}  // namespace kvsplice::python
