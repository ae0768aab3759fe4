// Blocks that lack their layers with a sliding window: what is left is coded as if it stood alone.
#include <gmock/gmock.h>

#include <cmath>

#include "core/random.h"
#include "fit/block_rows.h"
#include "fit/fit_codec.h"

namespace kvsplice::codec {
namespace {

using testing::HasSubstr;

constexpr int kWidth = 16;

// Layers 0, 1 and 3 slide, 2 and 4 attend to everything.
ModelShape sliding_shape() {
  ModelShape shape;
  shape.architecture = "gemma3";
  shape.fingerprint = std::string(32, '3');
  shape.query_heads = 1;
  for (int l = 0; l < 5; ++l) {
    LayerShape layer;
    layer.layer = l;
    layer.kv_heads = 1;
    layer.key_dim = layer.value_dim = kWidth;
    layer.window = l == 2 || l == 4 ? 0 : 8;
    shape.layers.push_back(layer);
  }
  return shape;
}

// Every layer tells something of the next.
KvBlock<float> generate(const ModelShape& shape, size_t n, uint64_t seed) {
  Random random(seed);
  KvBlock<float> block;
  for (size_t i = 0; i < n; ++i) {
    block.tokens.push_back(static_cast<int32_t>(i));
    block.positions.push_back(static_cast<int32_t>(i));
  }
  Matrix<float> state(n, kWidth);
  for (size_t l = 0; l < shape.layers.size(); ++l) {
    for (Kind kind : {Kind::key, Kind::value}) {
      for (float& v : state.flat()) v = 0.9f * v + 0.4f * static_cast<float>(random.normal());
      block.of(kind).push_back(state);
    }
  }
  return block;
}

KvBlock<float> without_windows(KvBlock<float> block, const ModelShape& shape) {
  for (Kind kind : {Kind::key, Kind::value}) {
    for (size_t l = 0; l < shape.layers.size(); ++l) {
      if (shape.layers[l].window > 0) block.of(kind)[l] = Matrix<float>(0, kWidth);
    }
  }
  block.absent = block.count();
  return block;
}

Codec fitted(const std::string& text) {
  return fit_codec(parse_codec(text).value(), sliding_shape(),
                   BlockRows(generate(sliding_shape(), 600, 1)), nullptr, {})
      .value();
}

const char kPredicting[] = "layers(history=2,embedding=off) | klt | step(delta=0.2) | range";

TEST(Windows, WhatIsLeftIsCodedAsWithTheOthersBesideIt) {
  const Codec codec = fitted(kPredicting);
  const KvBlock<float> whole = generate(codec.shape(), 40, 2);
  const KvBlock<float> part = without_windows(whole, codec.shape());
  const Bytes of_whole = codec.encode(whole, nullptr).value();
  const Bytes of_part = codec.encode(part, nullptr).value();
  EXPECT_LT(of_part.size(), of_whole.size() * 6 / 10);
  const auto a = codec.payloads(of_whole).value(), b = codec.payloads(of_part).value();
  const KvBlock<float> made = codec.decode(of_part, part.tokens, part.positions, nullptr).value();
  const KvBlock<float> wanted =
      codec.decode(of_whole, part.tokens, part.positions, nullptr).value();
  const KvBlock<float> direct = codec.roundtrip(part, nullptr, nullptr).value();
  for (size_t i = 0; i < codec.units().size(); ++i) {
    const Unit& unit = codec.units()[i].unit();
    const Matrix<float>& rows = made.of(unit.kind)[unit.layer];
    EXPECT_EQ(rows, direct.of(unit.kind)[unit.layer]);
    if (codec.shape().layers[unit.layer].window > 0) {
      EXPECT_TRUE(b[i].empty());
      EXPECT_EQ(rows.rows(), 0u);
      continue;
    }
    EXPECT_TRUE(std::equal(a[i].begin(), a[i].end(), b[i].begin(), b[i].end())) << i;
    EXPECT_EQ(rows, wanted.of(unit.kind)[unit.layer]);
  }
}

// Layer 4 has layer 2 to go by, so a prediction pays there; without history it costs more.
TEST(Windows, LayersWithoutAWindowPredictFromEachOther) {
  const Codec codec = fitted(kPredicting), alone = fitted("klt | step(delta=0.2) | range");
  const KvBlock<float> part = without_windows(generate(codec.shape(), 256, 2), codec.shape());
  const auto bytes_of_last_keys = [&](const Codec& c) {
    return c.payloads(c.encode(part, nullptr).value()).value()[8].size();
  };
  EXPECT_LT(bytes_of_last_keys(codec), bytes_of_last_keys(alone) * 97 / 100);
}

TEST(Windows, OnlySomeOfThemIsRefusedBothWays) {
  const Codec codec = fitted(kPredicting);
  KvBlock<float> block = generate(codec.shape(), 40, 2);
  const Bytes whole = codec.encode(block, nullptr).value();
  const auto payloads = codec.payloads(whole).value();
  for (size_t left_out : {0, 3, 4}) {  // a layer with a window, its values, one without
    ByteWriter bad;
    for (size_t i = 0; i < payloads.size(); ++i) {
      bad.put_varint(i == left_out ? 0 : payloads[i].size());
    }
    for (size_t i = 0; i < payloads.size(); ++i) {
      if (i != left_out) bad.put_bytes(payloads[i]);
    }
    const auto made = codec.decode(bad.bytes(), block.tokens, block.positions, nullptr);
    ASSERT_FALSE(made.ok());
    EXPECT_EQ(made.error().kind, ErrorKind::format) << made.error().message;
  }
  block.values[1] = Matrix<float>(0, kWidth);
  EXPECT_EQ(codec.encode(block, nullptr).error().kind, ErrorKind::usage);
  block = without_windows(generate(codec.shape(), 40, 2), codec.shape());
  block.keys[2] = Matrix<float>(0, kWidth);
  EXPECT_EQ(codec.encode(block, nullptr).error().kind, ErrorKind::usage);
}

TEST(Windows, StagesThatJoinLayersNeedAll) {
  const Codec codec = fitted("klt(scope=model) | step(delta=0.2)");
  const KvBlock<float> part = without_windows(generate(codec.shape(), 40, 2), codec.shape());
  EXPECT_THAT(codec.encode(part, nullptr).error().message, HasSubstr("joins layers"));
}

}  // namespace
}  // namespace kvsplice::codec
