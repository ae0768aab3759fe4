#include "calibrate/default_pipeline.h"

#include <gmock/gmock.h>

#include "codec/pipeline.h"

namespace kvsplice::calibrate {
namespace {

ModelShape shape_of(int layers, int kv_heads, int head_dim, int embedding) {
  ModelShape shape;
  shape.embedding_dim = embedding;
  for (int l = 0; l < layers; ++l) shape.layers.push_back({l, kv_heads, head_dim, head_dim, 0, {}});
  return shape;
}

using ::testing::HasSubstr;

std::string layers_of(const std::string& pipeline) {
  return pipeline.substr(0, pipeline.find(" |"));
}

TEST(DefaultPipeline, IsWholeForSmallModels) {
  EXPECT_EQ(default_pipeline(shape_of(30, 3, 64, 576)), kDefaultPipeline);
  EXPECT_EQ(default_pipeline(shape_of(18, 1, 256, 640)), kDefaultPipeline);
}

TEST(DefaultPipeline, ReadsLessOfWideModels) {
  EXPECT_EQ(layers_of(default_pipeline(shape_of(16, 8, 64, 2048))),
            "layers(history=2,directions=512)");  // Llama-3.2-1B
  EXPECT_EQ(layers_of(default_pipeline(shape_of(32, 8, 128, 4096))),
            "layers(history=1,directions=512)");  // Llama-3.1-8B
  EXPECT_EQ(layers_of(default_pipeline(shape_of(48, 4, 128, 2048))),
            "layers(history=2,directions=512)");  // Qwen3-30B-A3B
}

TEST(DefaultPipeline, ReadsNoLayersWhereOneIsTooWide) {
  EXPECT_EQ(layers_of(default_pipeline(shape_of(32, 32, 128, 4096))),
            "layers(history=0,directions=512)");  // Llama-2-7B
}

TEST(DefaultPipeline, KeepsToTheBudget) {
  const ModelShape small = shape_of(30, 3, 64, 576);
  EXPECT_EQ(layers_of(default_pipeline(small, 1919)), "layers(history=2)");
  EXPECT_EQ(layers_of(default_pipeline(small, 1920)), "layers(history=3)");
  EXPECT_EQ(layers_of(default_pipeline(small, 64)), "layers(history=0)");
}

TEST(DefaultPipeline, IsLegal) {
  for (int dim : {576, 4096}) {
    for (size_t budget : {64, 3584, 1 << 20}) {
      EXPECT_TRUE(codec::parse_codec(default_pipeline(shape_of(8, 8, 128, dim), budget)).ok());
    }
  }
}

TEST(LivePipeline, MixesHeadsOfNoMoreThan256Columns) {
  EXPECT_THAT(live_pipeline(shape_of(30, 3, 64, 576), 8192), HasSubstr("| klt | widths"));
  EXPECT_THAT(live_pipeline(shape_of(16, 8, 64, 2048), 8192), HasSubstr("klt(scope=head,heads=4)"));
  EXPECT_THAT(live_pipeline(shape_of(32, 8, 128, 4096), 8192),
              HasSubstr("klt(scope=head,heads=2)"));
  EXPECT_THAT(live_pipeline(shape_of(32, 2, 512, 4096), 8192),
              HasSubstr("klt(scope=head,heads=1)"));
  EXPECT_THAT(live_pipeline(shape_of(30, 3, 64, 576), 777), HasSubstr("rotate(context=777)"));
  EXPECT_TRUE(codec::parse_codec(live_pipeline(shape_of(32, 8, 128, 4096), 8192)).ok());
}

}  // namespace
}  // namespace kvsplice::calibrate
