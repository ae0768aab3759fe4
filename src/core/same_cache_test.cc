#include "core/same_cache.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

namespace kvsplice {
namespace {

using ::testing::HasSubstr;

ModelShape shape() {
  ModelShape shape;
  shape.architecture = "llama";
  shape.model_name = "Original";
  shape.fingerprint = std::string(32, 'a');
  for (int l = 0; l < 3; ++l) {
    LayerShape layer;
    layer.layer = l;
    layer.kv_heads = 2;
    layer.key_dim = 8;
    layer.value_dim = 4;
    layer.rope = {Rope::Pairs::adjacent, {1.0f, 0.1f, 0.01f}, 1};
    shape.layers.push_back(layer);
  }
  return shape;
}

std::string message(const ModelShape& met) {
  const Result<> same = same_cache("c.gguf was fitted for", shape(), "the model at hand", met);
  if (same.ok()) return "";
  EXPECT_EQ(same.error().kind, ErrorKind::mismatch);
  return same.error().message;
}

TEST(SameCache, TheFingerprintCountsAndTheNameDoesNot) {
  ModelShape met = shape();
  met.model_name = "Renamed";
  EXPECT_EQ(message(met), "");
  met.fingerprint[0] = 'b';
  EXPECT_EQ(message(met), "c.gguf was fitted for model Original (" + std::string(32, 'a') +
                              "), the model at hand is Renamed (b" + std::string(31, 'a') + ")");
}

TEST(SameCache, RotationsMayDifferByRounding) {
  ModelShape met = shape();
  met.layers[1].rope.frequency[2] = std::nextafter(0.01f, 1.0f);
  met.layers[2].rope.magnitude = std::nextafter(1.0f, 2.0f);
  EXPECT_EQ(message(met), "");
  met.layers[1].rope.frequency[2] = 0.01001f;
  EXPECT_THAT(message(met),
              HasSubstr("fitted for layer 1 with 3 adjacent pairs turning by 1 ... "));
  EXPECT_THAT(message(met), HasSubstr("the model at hand has layer 1 with 3 adjacent pairs"));
  met = shape();
  met.layers[2].rope.pairs = Rope::Pairs::halves;
  EXPECT_THAT(message(met), HasSubstr("distant pairs"));
  met.layers[2].rope = {};
  EXPECT_THAT(message(met), HasSubstr("has layer 2 without rotation"));
  met.layers[2].rope = shape().layers[2].rope;
  met.layers[2].rope.frequency.pop_back();
  EXPECT_THAT(message(met), HasSubstr("2 adjacent pairs"));
  met.layers[2].rope = shape().layers[2].rope;
  met.layers[2].rope.magnitude = 1.1f;
  EXPECT_THAT(message(met), HasSubstr("times 1.1"));
}

// Rounding of the factor from pair to pair grows along the table.
TEST(SameCache, LongTablesOfAnotherRoundingAreTheSame) {
  const auto table = [](float step) {
    ModelShape made = shape();
    double frequency = 1;
    made.layers[0].rope.frequency.clear();
    for (int i = 0; i < 128; ++i, frequency *= step) {
      made.layers[0].rope.frequency.push_back(float(frequency));
    }
    return made;
  };
  const float step = std::pow(1e6f, -1 / 128.0f);
  const ModelShape one = table(step);
  EXPECT_TRUE(same_cache("", one, "", table(std::nextafter(step, 1.0f))).ok());
  EXPECT_FALSE(same_cache("", one, "", table(step * 1.00001f)).ok());
}

TEST(SameCache, TheFirstLayerThatDiffersIsNamed) {
  ModelShape met = shape();
  met.layers[1].kv_heads = 1;
  EXPECT_THAT(message(met), HasSubstr("c.gguf was fitted for layer 1 with 2 KV heads of 8 and 4 "
                                      "dimensions, the model at hand has layer 1 with 1 KV heads"));
  met.layers[1] = shape().layers[1];
  met.layers[1].window = 16;
  EXPECT_THAT(message(met), HasSubstr("and a window of 16"));
  met = shape();
  met.layers.pop_back();
  EXPECT_THAT(message(met), HasSubstr("fitted for layer 2 with 2 KV heads"));
  EXPECT_THAT(message(met), HasSubstr("the model at hand has only 2 layers (of the same model"));
}

}  // namespace
}  // namespace kvsplice
