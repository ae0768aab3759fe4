// Recurrent states of hybrid models through the C interface: what it packs the library reads, what
// the library packs it reads, and none is lost unawares.
#include <numeric>

#include "core/random.h"
#include "golden_case.h"
#include "session/session.h"

namespace kvsplice::api {
namespace {

using session::RecurrentState;
using session::StateEncoding;
using session::StatePart;

constexpr size_t kTokens = 24;
const RecurrentLayer kRecurrent[] = {{1, 6, 40}, {3, 9, 0}};

RecurrentState state_behind(size_t position) {
  RecurrentState state{position, 4, {}};
  Random random(position);
  for (const StatePart part : {StatePart::r, StatePart::s}) {
    for (const RecurrentLayer& layer : kRecurrent) {
      const bool halves = layer.layer == 3;
      ByteWriter data;
      for (size_t i = 0; i < (part == StatePart::r ? layer.r : layer.s); ++i) {
        const auto value = float(random.normal());
        halves ? data.put(to_half(value)) : data.put(value);
      }
      state.rows.push_back({layer.layer, part, halves ? 1 : 0, data.take()});
    }
  }
  return state;
}

// As a caller describes them.
struct Described {
  explicit Described(std::vector<RecurrentState> all) : own(std::move(all)), rows(own.size()) {
    for (size_t i = 0; i < own.size(); ++i) {
      for (const session::StateRow& row : own[i].rows) {
        const size_t width = row.type == 0 ? 4 : 2;
        rows[i].push_back({row.layer, kvs_state_part(row.part), row.type == 0 ? KVS_F32 : KVS_F16,
                           row.data.data(), row.data.size() / width});
      }
      states.push_back({own[i].position, int(own[i].model_layers), rows[i].data(), rows[i].size()});
    }
    c = {states.data(), states.size(), KVS_STATES_EXACT, 0};
  }
  Described(const Described&) = delete;

  std::vector<RecurrentState> own;
  std::vector<std::vector<kvs_state_row>> rows;
  std::vector<kvs_state> states;
  kvs_states c{};
};

void expect_same(const kvs_state& met, const RecurrentState& wanted) {
  EXPECT_EQ(met.position, wanted.position);
  EXPECT_EQ(met.model_layers, int(wanted.model_layers));
  ASSERT_EQ(met.row_count, wanted.rows.size());
  for (size_t i = 0; i < met.row_count; ++i) {
    const kvs_state_row& row = met.rows[i];
    EXPECT_EQ(row.layer, wanted.rows[i].layer);
    EXPECT_EQ(row.part, int(wanted.rows[i].part));
    EXPECT_EQ(row.element, wanted.rows[i].type == 0 ? KVS_F32 : KVS_F16);
    const size_t bytes = row.count * (row.element == KVS_F32 ? 4 : 2);
    const auto* data = static_cast<const uint8_t*>(row.data);
    EXPECT_EQ(Bytes(data, data + bytes), wanted.rows[i].data) << i;
  }
}

class States : public InFolder {
 protected:
  States() {
    std::iota(positions_.begin(), positions_.end(), 0);
    tokens_.resize(kTokens, 5);
    for (auto* rows : {&keys_, &values_}) rows->push_back({numbers_.data(), 16, 1, KVS_F16});
  }

  kvs_block block(size_t first, size_t n, const kvs_states* states) {
    return {n,
            tokens_.data() + first,
            positions_.data() + first,
            KVS_CACHED,
            keys_.data(),
            values_.data(),
            0,
            states};
  }
  kvs_status pack(const kvs_block& block) {
    return kvs_session_pack(path_.c_str(), &block, nullptr, 0, nullptr, &model_, nullptr, nullptr,
                            nullptr, &error_);
  }
  kvs_status extend(const kvs_block& block) {
    return kvs_session_extend(path_.c_str(), &block, nullptr, 0, nullptr, nullptr, nullptr,
                              &error_);
  }
  void expect_usage(kvs_status status, const std::string& words) {
    EXPECT_EQ(status, KVS_ERROR_USAGE);
    EXPECT_NE(std::string(error_.message).find(words), std::string::npos) << error_.message;
  }
  ModelShape shape() const {
    ModelShape shape;
    shape.fingerprint = model_.fingerprint;
    shape.layers.resize(1);
    shape.layers[0].layer = number_;
    shape.layers[0].kv_heads = 2;
    shape.layers[0].key_dim = shape.layers[0].value_dim = 8;
    shape.recurrent.assign(std::begin(kRecurrent), std::end(kRecurrent));
    return shape;
  }
  session::Session opened() const {
    return std::move(session::Session::open(path_, {shape(), nullptr, nullptr})).value();
  }

  std::vector<int32_t> tokens_, positions_ = std::vector<int32_t>(kTokens);
  std::vector<uint16_t> numbers_ = std::vector<uint16_t>(kTokens * 16, to_half(0.5f));
  std::vector<kvs_rows> keys_, values_;
  const kvs_layer layer_{2, 8, 8, 0};
  const int number_ = 2;
  const kvs_model model_{"a model", nullptr, nullptr, 1, &layer_, &number_};
  const std::string path_ = folder_.file("s.kvz");
  kvs_error error_{};
};

TEST_F(States, ThatArePackedAreInTheSession) {
  const Described some({state_behind(10), state_behind(16)});
  ASSERT_EQ(pack(block(0, 16, &some.c)), KVS_OK) << error_.message;
  EXPECT_EQ(opened().file().info().format, session::kSecondFormat);
  Described last({state_behind(kTokens)});
  last.c.instead_of = 16;
  ASSERT_EQ(extend(block(16, 8, &last.c)), KVS_OK) << error_.message;
  const session::Session met = opened();
  EXPECT_EQ(met.file().state_positions(), (std::vector<size_t>{10, kTokens}));
  EXPECT_EQ(met.state_at(10).value(), some.own[0]);
  EXPECT_EQ(met.state_at(kTokens).value(), last.own[0]);
}

TEST_F(States, OfASessionAreRead) {
  const std::vector<RecurrentState> states = {state_behind(7), state_behind(kTokens)};
  KvBlock<uint16_t> cells(shape(), Space::cached, 0, kTokens);
  ASSERT_TRUE(
      session::pack(path_, cells, {}, {shape(), nullptr, nullptr}, {}, {}, {.states = states})
          .ok());
  const Session session = std::move(Session::open(path_, nullptr)).value();
  EXPECT_EQ(session.states(), (std::vector<size_t>{7, kTokens}));
  for (const RecurrentState& wanted : states) {
    const auto met = session.state(wanted.position);
    ASSERT_TRUE(met.ok()) << met.error().message;
    expect_same(met->c, wanted);
  }
  expect_error(session.state(8), ErrorKind::mismatch, "stored: behind token 7, token 24");
  EXPECT_EQ(kvs_session_state_position(session.c(), 2), 0u);
  EXPECT_EQ(kvs_session_layer_number(session.c(), 0), number_);
  EXPECT_EQ(kvs_session_layer_number(session.c(), 1), -1);
  const kvs_limits few{0, 100};
  kvs_options options{};
  options.limits = &few;
  const Session limited = std::move(Session::open(path_, nullptr, nullptr, &options)).value();
  expect_error(limited.state(7), ErrorKind::memory, "");
}

TEST_F(States, AreRoundedAsTheCallerSays) {
  for (const auto& [encoding, own] : {std::pair(KVS_STATES_F16, StateEncoding::f16),
                                      std::pair(KVS_STATES_Q8, StateEncoding::q8)}) {
    Described some({state_behind(kTokens)});
    some.c.encoding = encoding;
    ASSERT_EQ(pack(block(0, kTokens, &some.c)), KVS_OK) << error_.message;
    const auto met = std::move(Session::open(path_, nullptr)).value().state(kTokens);
    ASSERT_TRUE(met.ok()) << met.error().message;
    const RecurrentState wanted =
        session::decode_state(session::encode_state(some.own[0], own), kTokens).value();
    EXPECT_NE(wanted, some.own[0]);
    expect_same(met->c, wanted);
  }
}

// Where a session has some, or a codec is of a hybrid, they must be given or left out by name.
TEST_F(States, AreNotLostUnawares) {
  const Described some({state_behind(16)}), none({});
  ASSERT_EQ(pack(block(0, 16, &some.c)), KVS_OK) << error_.message;
  expect_usage(extend(block(16, 8, nullptr)), "of a hybrid model, and no states");
  ASSERT_EQ(extend(block(16, 8, &none.c)), KVS_OK) << error_.message;
  EXPECT_EQ(opened().file().state_positions(), (std::vector<size_t>{16}));

  const GoldenCase golden("../4/hybrid");
  const Codec codec = golden.codec();
  EXPECT_EQ(kvs_codec_layer_number(codec.c(), 2), 2);
  EXPECT_EQ(kvs_codec_layer_number(codec.c(), 3), -1);
  EXPECT_EQ(codec.recurrent_layers(), (std::vector<int>{1, 3}));
  EXPECT_EQ(kvs_codec_recurrent_layer(codec.c(), 2), -1);
  BlockInMemory rows(codec, kTokens, KVS_F32);
  kvs_block cells = rows.of(golden.tokens().subspan(0, kTokens), positions_, KVS_CACHED);
  const auto with = [&](const kvs_states* states) {
    cells.states = states;
    return Session::pack(cells, {}, &codec);
  };
  expect_error(with(nullptr), ErrorKind::usage, "no states");
  EXPECT_TRUE(with(&none.c).ok());
  const Described own({state_behind(kTokens)});
  const auto packed = with(&own.c);
  ASSERT_TRUE(packed.ok()) << packed.error().message;
  const auto session = Session::open(packed->bytes(), &codec);
  ASSERT_TRUE(session.ok()) << session.error().message;
  expect_same(session->state(kTokens).value().c, own.own[0]);
  expect_error(codec.encode(cells), ErrorKind::usage, "states in a codec's block");
  Described fewer({state_behind(kTokens)});
  fewer.states[0].row_count = 2;
  expect_error(with(&fewer.c), ErrorKind::mismatch, "of 2 rows");
}

TEST_F(States, ThatMeanNothingAreRefused) {
  const auto refuse = [&](const std::string& words, const auto& change) {
    Described some({state_behind(16)});
    change(some);
    expect_usage(pack(block(0, 16, &some.c)), words);
  };
  refuse("no states", [](Described& d) { d.c.states = nullptr; });
  refuse("states as 7; legal", [](Described& d) { d.c.encoding = 7; });
  refuse("behind 0 tokens", [](Described& d) { d.states[0].position = 0; });
  refuse("behind token 17 of 16", [](Described& d) { d.states[0].position = 17; });
  refuse("of -1 layers", [](Described& d) { d.states[0].model_layers = -1; });
  refuse("no rows", [](Described& d) { d.states[0].rows = nullptr; });
  refuse("rows; legal", [](Described& d) { d.states[0].row_count = 100000; });
  refuse("3 rows; legal", [](Described& d) { d.states[0].row_count = 3; });
  refuse("layer -2", [](Described& d) { d.rows[0][1].layer = -2; });
  refuse("part 2", [](Described& d) { d.rows[0][1].part = 2; });
  refuse("element type 2", [](Described& d) { d.rows[0][1].element = KVS_BF16; });
  refuse("no numbers", [](Described& d) { d.rows[0][1].data = nullptr; });
  refuse("numbers of", [](Described& d) { d.rows[0][1].count = SIZE_MAX; });
}

// Some allocator of the caller's holds them, and is handed all of it again.
TEST_F(States, AreInTheCallersMemory) {
  const Described some({state_behind(16)});
  ASSERT_EQ(pack(block(0, 16, &some.c)), KVS_OK) << error_.message;
  int held = 0;
  const kvs_allocator counting{&held,
                               [](void* user, size_t n) {
                                 ++*static_cast<int*>(user);
                                 return std::malloc(n);
                               },
                               [](void* user, void* bytes) {
                                 --*static_cast<int*>(user);
                                 std::free(bytes);
                               }};
  kvs_options options{};
  options.allocator = &counting;
  {
    const Session session = std::move(Session::open(path_, nullptr, nullptr, &options)).value();
    const auto met = session.state(16);
    ASSERT_TRUE(met.ok()) << met.error().message;
    EXPECT_EQ(held, 1);
    expect_same(met->c, some.own[0]);
  }
  EXPECT_EQ(held, 0);
}

}  // namespace
}  // namespace kvsplice::api
