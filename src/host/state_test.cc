// llama.cpp states: the layout byte by byte, every type, and input that is not what it claims.
#include <gmock/gmock.h>
#include <rapidcheck/gtest.h>

#include <cmath>
#include <cstring>

#include "host/session_state.h"
#include "host/state_cells_test.h"

namespace kvsplice::host {
namespace {

using session::all_rows;
using session::Cells;
using session::check_cells;
using session::check_finite;
using session::expect_equal;
using session::generate_cells;
using session::no_cells;
using session::small_shape;
using testing::HasSubstr;

constexpr StateForm kForms[] = {StateForm::session_file, StateForm::sequence_file,
                                StateForm::sequence_data};

ModelShape one_layer() {
  ModelShape shape = small_shape();
  shape.layers.resize(1);
  shape.layers[0].kv_heads = 1;
  shape.layers[0].key_dim = 2;
  shape.layers[0].value_dim = 1;
  return shape;
}

// Written by hand from llama.cpp's sources: llama_context::state_seq_save_file,
// llama_kv_cache::state_write, state_write_meta, state_write_data. Each stream is told by the
// sequences of its cells.
Bytes file_by_hand(StateVersion version, const std::vector<int32_t>& tokens,
                   const std::vector<std::vector<int32_t>>& streams) {
  ByteWriter by_hand;
  by_hand.put(uint32_t{0x67677371});
  by_hand.put(version.sequence);
  by_hand.put(static_cast<uint32_t>(tokens.size()));
  for (int32_t t : tokens) by_hand.put(t);
  by_hand.put(static_cast<uint32_t>(streams.size()));
  for (const std::vector<int32_t>& sequences : streams) {
    by_hand.put(static_cast<uint32_t>(sequences.size()));  // cells
    if (sequences.empty()) continue;
    for (size_t i = 0; i < sequences.size(); ++i) {
      by_hand.put(static_cast<int32_t>(i));  // position
      by_hand.put(uint32_t{1});
      by_hand.put(sequences[i]);
    }
    by_hand.put(uint32_t{0});  // values not transposed
    by_hand.put(uint32_t{1});  // layers
    if (version == kNewest) {
      by_hand.put(uint32_t{0});  // neither keys nor values are turned
      by_hand.put(uint32_t{0});
    }
    by_hand.put(int32_t{1});  // f16 keys of two values
    by_hand.put(uint64_t{4});
    for (uint16_t k : {0x3c00, 0x4000, 0x4200, 0x4400}) by_hand.put(k);
    by_hand.put(int32_t{1});
    by_hand.put(uint64_t{2});
    for (uint16_t v : {0xbc00, 0xc000}) by_hand.put(v);
  }
  return by_hand.take();
}

using Tokens = std::vector<int32_t>;

TEST(State, SequenceFilesHaveLlamasLayout) {
  const ModelShape shape = one_layer();
  for (const StateVersion version : kStateVersions) {
    const Bytes bytes = file_by_hand(version, {11, 22, 33}, {{0, 0}});
    const StateBlob blob = parse_state(bytes).value();
    EXPECT_EQ(blob.form, StateForm::sequence_file);
    EXPECT_EQ(blob.version, version);
    const StateCells made = to_cells(blob, shape, blob.tokens).value();
    EXPECT_THAT(made.cells.tokens, testing::ElementsAre(11, 22));
    EXPECT_EQ(made.pending, Tokens{33});
    EXPECT_EQ(all_rows<uint16_t>(made.cells, Kind::key, 0)(1, 0), 0x4200);
    EXPECT_EQ(all_rows<uint16_t>(made.cells, Kind::value, 0)(1, 0), 0xc000);
    // A sequence lists no more tokens than it has cells.
    EXPECT_EQ(to_state(made.cells, made.pending, shape, {.version = version}).value(),
              file_by_hand(version, {11, 22}, {{0, 0}}));
  }
}

TEST(State, OneStreamOfManyHoldsTheCells) {
  const ModelShape shape = one_layer();
  for (size_t filled = 0; filled < 4; ++filled) {
    std::vector<Tokens> streams(4);
    streams[filled] = {3, 3};
    const Bytes bytes = file_by_hand(kOldest, {11, 22}, streams);
    const StateBlob blob = parse_state(bytes).value();
    EXPECT_EQ(blob.streams, 4u);
    EXPECT_EQ(to_cells(blob, shape, blob.tokens)->cells.count(), 2u);
    const Bytes back = to_state(to_cells(blob, shape, blob.tokens)->cells, {}, shape,
                                {.version = kOldest, .streams = 4})
                           .value();
    EXPECT_EQ(back, file_by_hand(kOldest, {11, 22}, {{0, 0}, {}, {}, {}}));
  }
  const auto message = [](const std::vector<Tokens>& streams) {
    return parse_state(file_by_hand(kOldest, {11, 22}, streams)).error().message;
  };
  EXPECT_THAT(message({{0, 0}, {}, {1, 1}}), HasSubstr("streams 0 and 2 have cells: several"));
  EXPECT_THAT(message({{0, 1}}), HasSubstr("cells of sequences 0 and 1: several"));
  EXPECT_THAT(message({}), HasSubstr("0 streams; legal: 1 ... 256"));
  EXPECT_THAT(message(std::vector<Tokens>(257)), HasSubstr("257 streams; legal: 1 ... 256"));
  const Cells cells = generate_cells(shape, 0, 2, 1);
  EXPECT_THAT(to_state(cells, {}, shape, {.streams = 0}).error().message,
              HasSubstr("0 streams; legal: 1 ... 256"));
}

// A state of a model with M-RoPE, of today's llama.cpp or of an older one.
struct CellByHand {
  int32_t position, x, y, token;
};
Bytes places_by_hand(const std::vector<CellByHand>& cells, bool with_tokens) {
  ByteWriter by_hand;
  by_hand.put(uint32_t{0x67677371});
  by_hand.put(kOldest.sequence);
  by_hand.put(uint32_t{2});
  for (const int32_t t : {11, 22}) by_hand.put(t);
  by_hand.put(uint32_t{1});
  by_hand.put(static_cast<uint32_t>(cells.size()));
  for (const CellByHand& cell : cells) {
    by_hand.put(cell.position);
    by_hand.put(uint32_t{1});
    by_hand.put(cell.x);
    by_hand.put(cell.y);
    if (with_tokens) by_hand.put(cell.token);
    by_hand.put(int32_t{0});
  }
  by_hand.put(uint32_t{0});
  by_hand.put(uint32_t{1});
  by_hand.put(int32_t{1});
  by_hand.put(uint64_t{4});
  for (uint16_t k : {0x3c00, 0x4000, 0x4200, 0x4400}) by_hand.put(k);
  by_hand.put(int32_t{1});
  by_hand.put(uint64_t{2});
  for (uint16_t v : {0xbc00, 0xc000}) by_hand.put(v);
  return by_hand.take();
}

TEST(State, CellsOfTextAreAtTheirPositionsTwiceMore) {
  ModelShape shape = one_layer();
  shape.places = true;
  const Bytes bytes = places_by_hand({{0, 0, 0, 11}, {1, 1, 1, 22}}, true);
  for (const StateHints& hints : {hints_of(shape), StateHints()}) {
    const StateBlob blob = parse_state(bytes, hints).value();
    const StateCells made = to_cells(blob, shape, blob.tokens).value();
    EXPECT_EQ(all_rows<uint16_t>(made.cells, Kind::key, 0)(1, 0), 0x4200);
    EXPECT_EQ(to_state(made.cells, {}, shape, {.version = kOldest}).value(), bytes);
    EXPECT_THAT(to_cells(blob, shape, Tokens{11, 23}).error().message,
                HasSubstr("the cell at position 1 is of token 22, not 23"));
  }
  const auto message = [&](const std::vector<CellByHand>& cells, bool with_tokens = true) {
    return parse_state(places_by_hand(cells, with_tokens), hints_of(shape)).error().message;
  };
  EXPECT_THAT(message({{0, 0, 0, 11}, {1, 2, 1, 22}}), HasSubstr("cell 1 at position 1 is of an"));
  EXPECT_THAT(message({{0, 0, 0, 11}, {1, 1, 2, 22}}), HasSubstr("image (x 1, y 2, token 22)"));
  EXPECT_THAT(message({{0, 0, 0, -1}, {1, 1, 1, 22}}), HasSubstr("cell 0 at position 0 is of an"));
  EXPECT_THAT(message({{0, 0, 0, 0}, {1, 1, 1, 0}}, false), HasSubstr("before August 2026"));
  for (size_t size = 0; size < bytes.size(); ++size) {
    EXPECT_FALSE(parse_state(ByteSpan(bytes).first(size), hints_of(shape)).ok()) << size;
  }
}

TEST(State, TokensArePlainOrARecordWithoutMedia) {
  const auto parsed = [](const Tokens& field) {
    return parse_state(file_by_hand(kOldest, field, {{0, 0}}));
  };
  const auto message = [&](const Tokens& field) { return parsed(field).error().message; };
  EXPECT_EQ(parsed({-1, 1, 2, 11, 22, 0})->tokens, (Tokens{11, 22}));
  EXPECT_EQ(parsed({-1, 1, 0, 0})->tokens, Tokens{});
  EXPECT_THAT(message({-1, 1, 2, 11, 22, 3, 0, 7}), HasSubstr("3 media"));
  EXPECT_THAT(message({-1, 2, 2, 11, 22, 0}), HasSubstr("format 2; legal: a plain list, or a"));
  EXPECT_THAT(message({-1}), HasSubstr("format none"));
  EXPECT_THAT(message({-1, 1}), HasSubstr("truncated"));
  EXPECT_THAT(message({-1, 1, 3, 11, 22, 0}), HasSubstr("truncated: a record of 3 tokens"));
  EXPECT_THAT(message({-1, 1, -1, 11, 22, 0}), HasSubstr("truncated: a record of 4294967295"));
  EXPECT_THAT(message({-1, 1, 2, 11, 22, 0, 0}), HasSubstr("1 words behind the record"));
}

TEST(State, TokensMustBeTheModels) {
  ModelShape shape = one_layer();
  const auto message = [&](const Tokens& tokens) {
    const Bytes bytes = file_by_hand(kOldest, tokens, {{0, 0}});
    const auto made = to_cells(*parse_state(bytes), shape, tokens);
    return made.ok() ? std::string() : made.error().message;
  };
  EXPECT_EQ(message({0, 999}), "");
  EXPECT_THAT(message({7, -1}), HasSubstr("token -1 at place 1 is none of the model's, 0 ... 999"));
  EXPECT_THAT(message({7, 8, 1000}), HasSubstr("token 1000 at place 2"));
  shape.vocabulary = 0;
  EXPECT_EQ(message({7, 1000}), "");
  EXPECT_THAT(message({7, -2}), HasSubstr("token -2 at place 1"));
}

TEST(State, WhatIsBehindTheCachesIsCountedAndLeft) {
  const ModelShape shape = one_layer();
  Bytes bytes = file_by_hand(kOldest, {11, 22}, {{0, 0}});
  // As another cache begins, but none is there.
  for (uint8_t byte : {1, 0, 0, 0, 0, 0, 0, 0}) bytes.push_back(byte);
  for (const size_t caches : {0, 1}) {
    const StateBlob blob = parse_state(bytes, {.caches = caches}).value();
    EXPECT_EQ(blob.caches.size(), 1u);
    EXPECT_EQ(blob.bytes_behind, 8u);
    EXPECT_EQ(to_cells(blob, shape, blob.tokens)->cells.count(), 2u);
  }
}

TEST(State, SequenceDataIsOfTheVersionItIsSaidToBe) {
  const ModelShape shape = small_shape();
  const Cells cells = generate_cells(shape, 0, 3, 5);
  for (const StateVersion version : kStateVersions) {
    const Bytes bytes =
        to_state(cells, {}, shape, {.form = StateForm::sequence_data, .version = version}).value();
    const StateBlob blob = parse_state(bytes, {.version = version}).value();
    expect_equal(to_cells(blob, shape, cells.tokens)->cells, cells);
  }
}

TEST(State, ASessionFileListsOneTokenMoreThanItHasCells) {
  const ModelShape shape = small_shape();
  const Cells cells = generate_cells(shape, 0, 3, 5);
  const auto written = [&](StateForm form, const Tokens& pending) {
    const Bytes bytes = to_state(cells, pending, shape, {.form = form}).value();
    const StateBlob blob = parse_state(bytes).value();
    return std::pair(blob.tokens.size(), blob.caches[0].cells());
  };
  using Sizes = std::pair<size_t, size_t>;
  EXPECT_EQ(written(StateForm::session_file, {}), Sizes(3, 2));
  EXPECT_EQ(written(StateForm::session_file, {7}), Sizes(4, 3));
  EXPECT_EQ(written(StateForm::session_file, {7, 8}), Sizes(4, 3));
  EXPECT_EQ(written(StateForm::sequence_file, {}), Sizes(3, 3));
  EXPECT_EQ(written(StateForm::sequence_file, {7, 8}), Sizes(3, 3));
}

TEST(State, F32IsRoundedToF16AndTold) {
  const ModelShape shape = one_layer();
  StateBlob blob;
  const float keys[] = {1, 70000, 0.1f, -1e30f}, values[] = {std::nanf(""), 1e-30f};
  const auto bytes = [](const auto& a) {
    return ByteSpan(reinterpret_cast<const uint8_t*>(a), sizeof a);
  };
  StateCache cache;
  cache.positions = {0, 1};
  cache.keys = {{0, 8, bytes(keys)}};
  cache.values = {{0, 4, bytes(values)}};
  blob.form = StateForm::sequence_data;
  blob.caches = {cache};
  const StateCells made = to_cells(blob, shape, Tokens{8, 9}).value();
  EXPECT_THAT(all_rows<uint16_t>(made.cells, Kind::key, 0).flat(),
              testing::ElementsAre(0x3c00, 0x7bff, to_half(0.1f), 0xfbff));
  EXPECT_EQ(made.rounded, 4u);
  EXPECT_EQ(describe(*made.first_rounded), "value 1 of the keys of layer 0 at position 0");
  EXPECT_EQ(check_finite(made.cells, shape).error().message,
            "value 0 of the values of layer 0 at position 0 is infinite or not a number");
  EXPECT_THAT(to_state(made.cells, {}, shape, {.key_type = CellType::f16}).ok(), true);
}

TEST(State, LayersWithoutAttentionHaveRowsOfNoBytes) {
  ModelShape gaps = small_shape();
  gaps.layers[1].layer = 2;
  gaps.layers[2].layer = 3;
  gaps.empty_layers = {1, 4};
  EXPECT_EQ(empty_places(gaps), (std::vector<size_t>{1, 4}));
  const Cells cells = generate_cells(gaps, 0, 3, 5);
  for (const bool transposed : {false, true}) {
    const Bytes bytes = to_state(cells, {}, gaps, {.values_transposed = transposed}).value();
    EXPECT_EQ(parse_state(bytes)->caches[0].keys.size(), 5u);
    const StateBlob blob = parse_state(bytes, hints_of(gaps)).value();
    expect_equal(to_cells(blob, gaps, blob.tokens)->cells, cells);
  }
  const Bytes other = to_state(cells, {}, small_shape(), {}).value();
  EXPECT_THAT(parse_state(other, hints_of(gaps)).error().message,
              HasSubstr("layer 4 of 3 in the state has no rows in the model"));
}

// Attention takes values from the keys: the state has none.
TEST(State, OfLatentAttentionHoldsKeysAlone) {
  ModelShape latent = small_shape();
  for (LayerShape& layer : latent.layers) {
    layer.kv_heads = 1;
    layer.key_dim = 96;
    layer.value_dim = 0;
    layer.rope.first = 32;
  }
  const Cells cells = generate_cells(latent, 0, 5, 2);
  for (const auto type : {CellType::f16, CellType::f32, CellType::q8_0}) {
    for (const bool transposed : {false, true}) {
      const StateTarget target{
          .key_type = type, .value_type = CellType::f16, .values_transposed = transposed};
      const Bytes bytes = to_state(cells, {}, latent, target).value();
      const StateBlob blob = parse_state(bytes, hints_of(latent)).value();
      EXPECT_EQ(blob.bytes_behind, 0u);
      EXPECT_TRUE(blob.caches[0].values.empty());
      EXPECT_EQ(parse_state(bytes)->caches[0].keys.size(), 3u);  // of a model that is not known
      const StateTarget like = target_like(blob, latent).value();
      EXPECT_EQ(to_state(cells, {}, latent, like).value(), bytes);
      if (type != CellType::q8_0) expect_equal(cells_in(blob, latent, blob.tokens), cells);
      for (size_t size = 0; size < bytes.size(); ++size) {
        EXPECT_FALSE(parse_state(ByteSpan(bytes).first(size), hints_of(latent)).ok()) << size;
      }
    }
  }
  for (const Turns& turns : usual_turns(latent)) EXPECT_EQ(turns, Turns());
  const Bytes other =
      to_state(generate_cells(small_shape(), 0, 5, 2), {}, small_shape(), {}).value();
  EXPECT_THAT(to_cells(parse_state(other).value(), latent, cells.tokens).error().message,
              HasSubstr("has values of 3 layers, the model of 0"));
}

TEST(State, CellsInAnyOrderAreSortedAndTransposedValuesTurned) {
  const uint16_t keys[] = {3, 4, 1, 2}, values[] = {6, 5};  // cell 0 is position 1
  StateBlob blob;
  blob.form = StateForm::sequence_data;
  StateCache cache;
  cache.positions = {1, 0};
  cache.values_transposed = true;
  const auto bytes = [](const auto& a) {
    return ByteSpan(reinterpret_cast<const uint8_t*>(a), sizeof a);
  };
  cache.keys = {{1, 4, bytes(keys)}};
  cache.values = {{1, 2, bytes(values)}};
  blob.caches = {cache};
  const Bytes written = write_state(blob);
  const StateBlob parsed = parse_state(written).value();
  const std::vector<int32_t> tokens = {8, 9};
  const Cells cells = cells_in(parsed, one_layer(), tokens);
  EXPECT_THAT(cells.keys[0].flat(), testing::ElementsAre(1, 2, 3, 4));
  EXPECT_THAT(cells.values[0].flat(), testing::ElementsAre(5, 6));
}

TEST(State, EveryFormAndExactTypeComesBackToTheBit) {
  const ModelShape shape = small_shape();
  const Cells cells = generate_cells(shape, 0, 9, 1);
  const std::vector<int32_t> pending = {5};
  for (StateForm form : kForms) {
    for (CellType type : {CellType::f32, CellType::f16}) {
      const Bytes bytes =
          to_state(cells, pending, shape, {.form = form, .key_type = type, .value_type = type})
              .value();
      const StateBlob blob = parse_state(bytes).value();
      EXPECT_EQ(blob.form, form);
      const bool has_tokens = form != StateForm::sequence_data;
      expect_equal(to_cells(blob, shape, has_tokens ? blob.tokens : cells.tokens)->cells, cells);
    }
  }
}

// Rows that lie there as cells do are not copied, wherever a name of odd length moves them to.
TEST(State, CellsOfF16StayWhereTheyAre) {
  ModelShape shape = small_shape();
  const Cells cells = generate_cells(shape, 0, 9, 1);
  for (const char* architecture : {"llama", "qwen35"}) {
    shape.architecture = architecture;
    for (const bool transposed : {false, true}) {
      const StateTarget target{.form = StateForm::session_file, .values_transposed = transposed};
      const Bytes bytes = to_state(cells, Tokens{5}, shape, target).value();
      const StateBlob blob = parse_state(bytes, hints_of(shape)).value();
      const StateCells made = to_cells(blob, shape, blob.tokens).value();
      EXPECT_TRUE(made.copied.empty());
      for (Kind kind : {Kind::key, Kind::value}) {
        for (const RowsView& rows : made.cells.of(kind)) {
          EXPECT_GE(rows.data, bytes.data());
          EXPECT_LT(rows.data, bytes.data() + bytes.size());
        }
      }
      expect_equal(made.cells, cells);
    }
  }
}

// Decoded to where it lies in a state, or by way of a block, a session is the same state.
TEST(State, SessionsBecomeStates) {
  const ModelShape shape = small_shape();
  const Cells cells = generate_cells(shape, 0, 100, 1);
  const session::TemporaryFile file(".kvz");
  const session::Coder coder{shape, nullptr, nullptr};
  ASSERT_TRUE(session::pack(file.path(), cells, {}, coder, {32, 4, 16}, {}).ok());
  const auto session = session::Session::open(file.path(), coder).value();
  for (const StateForm form : kForms) {
    for (const CellType type : {CellType::f16, CellType::f32, CellType::q8_0}) {
      for (const bool transposed : {false, true}) {
        if (transposed && type == CellType::q8_0) continue;
        const StateTarget target{
            .form = form, .key_type = type, .value_type = type, .values_transposed = transposed};
        for (const Tokens& pending : {Tokens{}, Tokens{5}}) {
          const SessionState state =
              to_state(session, 90, pending, shape, target, true, {}).value();
          EXPECT_TRUE(state.bytes ==
                      to_state(cells.view().slice(0, 90), pending, shape, target).value());
          EXPECT_EQ(state.tokens, Tokens(cells.tokens.begin(), cells.tokens.begin() + 90));
        }
      }
    }
  }
}

TEST(State, OfASessionIsFiniteIfItMust) {
  const ModelShape shape = small_shape();
  Cells cells = generate_cells(shape, 0, 10, 1);
  cells.values[2](7, 3) = 0x7c00;
  const session::TemporaryFile file(".kvz");
  const session::Coder coder{shape, nullptr, nullptr};
  ASSERT_TRUE(session::pack(file.path(), cells, {}, coder, {}, {}).ok());
  const auto session = session::Session::open(file.path(), coder).value();
  for (const CellType type : {CellType::f16, CellType::f32}) {
    const StateTarget target{.key_type = type, .value_type = type};
    EXPECT_TRUE(to_state(session, 10, {}, shape, target, false, {}).ok());
    EXPECT_EQ(to_state(session, 10, {}, shape, target, true, {}).error().message,
              "value 3 of the values of layer 2 at position 7 is infinite or not a number");
  }
}

TEST(State, IsWrittenLikeAnother) {
  const ModelShape shape = small_shape();
  const Cells cells = generate_cells(shape, 0, 5, 2);
  using T = CellType;
  for (const StateTarget& target :
       {StateTarget{}, StateTarget{.value_type = T::f32, .values_transposed = true, .streams = 3},
        StateTarget{.form = StateForm::session_file, .key_type = T::q8_0, .version = kOldest},
        StateTarget{.key_type = T::q8_0, .values_transposed = true, .version = kNewest},
        StateTarget{.key_type = T::q8_0,
        .value_type = T::q8_0,
        .version = kNewest,
        .turns = std::vector<Turns>(shape.layers.size())}}) {
    const Bytes bytes = to_state(cells, Tokens{4}, shape, target).value();
    const StateBlob blob = parse_state(bytes).value();
    const StateTarget like = target_like(blob, shape).value();
    EXPECT_EQ(to_state(cells, Tokens{4}, shape, like).value(), bytes);
    const Cells back = cells_in(blob, shape, blob.tokens);
    EXPECT_EQ(back.values, target.value_type == T::q8_0 ? back.values : cells.values);
    EXPECT_EQ(back.keys, target.key_type == T::q8_0 ? back.keys : cells.keys);
  }
  const Bytes empty = to_state(no_cells(shape, 0, 0), {}, shape, {}).value();
  EXPECT_THAT(target_like(parse_state(empty).value(), shape).error().message,
              HasSubstr("is empty"));
  EXPECT_THAT(to_state(cells, {}, shape, {.value_type = T::q8_0, .values_transposed = true})
                  .error()
                  .message,
              HasSubstr("no cache of q8_0 values without flash attention; legal: f16, f32"));
}

TEST(State, TruncatedAnywhereIsAnError) {
  const ModelShape shape = one_layer();
  const Cells cells = generate_cells(shape, 0, 4, 3);
  for (StateForm form : kForms) {
    const Bytes bytes = to_state(cells, {}, shape, {.form = form}).value();
    for (size_t size = 0; size < bytes.size(); ++size) {
      EXPECT_FALSE(parse_state(ByteSpan(bytes).first(size), hints_of(shape)).ok()) << size;
    }
    Bytes longer = bytes;
    longer.resize(bytes.size() + 5);
    EXPECT_EQ(parse_state(longer)->bytes_behind, 5u);
  }
}

RC_GTEST_PROP(State, DamageGivesAnErrorOrAStateOfTheRightShape, ()) {
  ModelShape shape = one_layer();
  shape.places = *rc::gen::arbitrary<bool>();
  const Cells cells = generate_cells(shape, 0, 4, 3);
  StateTarget target;
  target.form = *rc::gen::elementOf(std::vector(std::begin(kForms), std::end(kForms)));
  target.version = *rc::gen::element(kOldest, kNewest);
  target.streams = *rc::gen::element(1u, 3u);
  Bytes bytes = to_state(cells, {}, shape, target).value();
  const auto flips = *rc::gen::container<std::vector<uint32_t>>(rc::gen::arbitrary<uint32_t>());
  for (uint32_t f : flips) bytes[f / 8 % bytes.size()] ^= 1 << (f % 8);
  const auto blob = parse_state(bytes, hints_of(shape));
  if (!blob.ok()) return;
  const auto made = to_cells(*blob, shape, cells.tokens);
  if (made.ok()) RC_ASSERT(check_cells(made->cells, shape).ok());
}

TEST(State, WhatIsNotHandledIsNamed) {
  const ModelShape shape = small_shape();
  const Cells cells = generate_cells(shape, 0, 3, 4);
  const Bytes good = to_state(cells, {}, shape, {.form = StateForm::session_file}).value();
  const auto message = [&](Bytes bytes, const ModelShape& model) {
    const auto blob = parse_state(bytes);
    if (!blob.ok()) return blob.error().message;
    const auto made = to_cells(*blob, model, blob->tokens);
    return made.ok() ? std::string() : made.error().message;
  };
  EXPECT_EQ(message(good, shape), "");
  Bytes other = good;
  other[4] = 9;
  EXPECT_THAT(message(other, shape), HasSubstr("version 9; legal: 10, 11"));
  other = good;
  other[0] = 'x';
  EXPECT_THAT(message(other, shape), HasSubstr("not the start of a llama.cpp state"));
  ModelShape model = shape;
  model.architecture = "qwen2";
  EXPECT_THAT(message(good, model), HasSubstr("'llama', the model 'qwen2'"));
  model = shape;
  model.layers.pop_back();
  EXPECT_THAT(message(good, model), HasSubstr("3 layers, the model 2"));
  model = shape;
  model.layers[1].key_dim = 32;
  EXPECT_THAT(message(good, model), HasSubstr("256 bytes"));
  const auto blob = parse_state(good).value();
  EXPECT_THAT(to_cells(blob, shape, std::span(blob.tokens).first(1)).error().message,
              HasSubstr("2 cells but only 1 tokens"));
}

}  // namespace
}  // namespace kvsplice::host
