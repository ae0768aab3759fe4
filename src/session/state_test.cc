// llama.cpp states: the layout byte by byte, every type, and input that is not what it claims.
#include <gmock/gmock.h>
#include <rapidcheck/gtest.h>

#include "session/generated_cells.h"
#include "session/state_rows.h"

namespace kvsplice::session {
namespace {

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
// llama_kv_cache::state_write, state_write_meta, state_write_data.
TEST(State, SequenceFileHasLlamasLayout) {
  ByteWriter by_hand;
  by_hand.put(uint32_t{0x67677371});
  by_hand.put(uint32_t{3});
  by_hand.put(uint32_t{3});  // tokens, one of them pending
  for (int32_t t : {11, 22, 33}) by_hand.put(t);
  by_hand.put(uint32_t{1});  // streams
  by_hand.put(uint32_t{2});  // cells
  for (int32_t position : {0, 1}) {
    by_hand.put(position);
    by_hand.put(uint32_t{1});
    by_hand.put(int32_t{0});
  }
  by_hand.put(uint32_t{0});  // values not transposed
  by_hand.put(uint32_t{1});  // layers
  by_hand.put(int32_t{1});   // f16 keys of two values
  by_hand.put(uint64_t{4});
  for (uint16_t k : {0x3c00, 0x4000, 0x4200, 0x4400}) by_hand.put(k);
  by_hand.put(int32_t{1});
  by_hand.put(uint64_t{2});
  for (uint16_t v : {0xbc00, 0xc000}) by_hand.put(v);

  const ModelShape shape = one_layer();
  const StateBlob blob = parse_state(by_hand.bytes()).value();
  EXPECT_EQ(blob.form, StateForm::sequence_file);
  const StateCells made = to_cells(blob, shape, blob.tokens).value();
  EXPECT_EQ(made.cells.tokens, (std::vector<int32_t>{11, 22}));
  EXPECT_EQ(made.pending, (std::vector<int32_t>{33}));
  EXPECT_EQ(made.cells.keys[0](1, 0), 0x4200);
  EXPECT_EQ(made.cells.values[0](1, 0), 0xc000);
  EXPECT_EQ(to_state(made.cells, made.pending, shape, blob.form, CellType::f16).value(),
            by_hand.bytes());
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
  const Cells cells = to_cells(parsed, one_layer(), tokens).value().cells;
  EXPECT_THAT(cells.keys[0].flat(), testing::ElementsAre(1, 2, 3, 4));
  EXPECT_THAT(cells.values[0].flat(), testing::ElementsAre(5, 6));
}

TEST(State, EveryFormAndExactTypeComesBackToTheBit) {
  const ModelShape shape = small_shape();
  const Cells cells = generate_cells(shape, 0, 9, 1);
  const std::vector<int32_t> pending = {5};
  for (StateForm form : kForms) {
    for (CellType type : {CellType::f32, CellType::f16}) {
      const Bytes bytes = to_state(cells, pending, shape, form, type).value();
      const StateBlob blob = parse_state(bytes).value();
      EXPECT_EQ(blob.form, form);
      const bool has_tokens = form != StateForm::sequence_data;
      EXPECT_EQ(blob.tokens.size(), has_tokens ? 10u : 0u);
      expect_equal(to_cells(blob, shape, has_tokens ? blob.tokens : cells.tokens)->cells, cells);
    }
  }
}

TEST(State, Q8IsCloseAndRotatedAsLlamaDoes) {
  const ModelShape shape = small_shape();
  Cells cells = generate_cells(shape, 0, 5, 2);
  const Bytes bytes = to_state(cells, {}, shape, StateForm::sequence_file, CellType::q8_0).value();
  const StateBlob blob = parse_state(bytes).value();
  const Cells back = to_cells(blob, shape, blob.tokens).value().cells;
  for (Kind kind : {Kind::key, Kind::value}) {
    double error = 0, power = 0;
    for (size_t i = 0; i < back.of(kind)[0].size(); ++i) {
      const double x = from_half(cells.of(kind)[0].flat()[i]);
      error += std::pow(from_half(back.of(kind)[0].flat()[i]) - x, 2);
      power += x * x;
    }
    EXPECT_LT(std::sqrt(error / power), 0.01);
    EXPECT_GT(std::sqrt(error / power), 1e-4) << "nothing was rounded";
  }
  // Heads of 64 are turned: a single value spreads over all codes. Heads of 32 are not.
  for (auto& rows : cells.keys) std::fill(rows.flat().begin(), rows.flat().end(), 0);
  for (auto& rows : cells.values) std::fill(rows.flat().begin(), rows.flat().end(), 0);
  cells.keys[0](0, 3) = cells.values[0](0, 3) = to_half(1);
  const Bytes spread = to_state(cells, {}, shape, StateForm::sequence_file, CellType::q8_0).value();
  const StateCache cache = parse_state(spread)->caches[0];
  const auto codes_used = [](ByteSpan block) {
    return 34 - std::count(block.begin(), block.begin() + 34, 0);
  };
  EXPECT_EQ(codes_used(cache.keys[0].data), 34);
  EXPECT_LE(codes_used(cache.values[0].data), 3);
}

TEST(State, TruncatedAnywhereIsAnError) {
  const ModelShape shape = one_layer();
  const Cells cells = generate_cells(shape, 0, 4, 3);
  for (StateForm form : kForms) {
    const Bytes bytes = to_state(cells, {}, shape, form, CellType::f16).value();
    for (size_t size = 0; size < bytes.size(); ++size) {
      EXPECT_FALSE(parse_state(ByteSpan(bytes).first(size)).ok()) << size;
    }
    Bytes longer = bytes;
    longer.resize(bytes.size() + 5);
    EXPECT_FALSE(parse_state(longer).ok());
  }
}

RC_GTEST_PROP(State, DamageGivesAnErrorOrAStateOfTheRightShape, ()) {
  const ModelShape shape = one_layer();
  const Cells cells = generate_cells(shape, 0, 4, 3);
  Bytes bytes = to_state(cells, {}, shape,
                         *rc::gen::elementOf(std::vector(std::begin(kForms), std::end(kForms))),
                         CellType::f16)
                    .value();
  const auto flips = *rc::gen::container<std::vector<uint32_t>>(rc::gen::arbitrary<uint32_t>());
  for (uint32_t f : flips) bytes[f / 8 % bytes.size()] ^= 1 << (f % 8);
  const auto blob = parse_state(bytes);
  if (!blob.ok()) return;
  const auto made = to_cells(*blob, shape, cells.tokens);
  if (made.ok()) RC_ASSERT(check_cells(made->cells, shape).ok());
}

TEST(State, WhatIsNotHandledIsNamed) {
  const ModelShape shape = small_shape();
  const Cells cells = generate_cells(shape, 0, 3, 4);
  const Bytes good = to_state(cells, {}, shape, StateForm::session_file, CellType::f16).value();
  const auto message = [&](Bytes bytes, const ModelShape& model) {
    const auto blob = parse_state(bytes);
    if (!blob.ok()) return blob.error().message;
    const auto made = to_cells(*blob, model, blob->tokens);
    return made.ok() ? std::string() : made.error().message;
  };
  EXPECT_EQ(message(good, shape), "");
  Bytes other = good;
  other[4] = 9;
  EXPECT_THAT(message(other, shape), HasSubstr("version 9; version 10 is read"));
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
  EXPECT_THAT(to_cells(blob, shape, std::span(blob.tokens).first(2)).error().message,
              HasSubstr("3 cells but only 2 tokens"));
}

}  // namespace
}  // namespace kvsplice::session
