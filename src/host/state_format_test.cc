// What is said of llama.cpp's states, compared with what it does.
#include "host/state_format.h"

#include <gmock/gmock.h>
#include <llama.h>

#include <cstdlib>
#include <cstring>

#include "host/model.h"
#include "host/tiny_model_test.h"

namespace kvsplice::host {
namespace {

using ::kvsplice::testing::letters;
using ::kvsplice::testing::must;
using ::kvsplice::testing::TempDir;
using ::kvsplice::testing::TinyModel;
using ::kvsplice::testing::TinyOptions;

Context make_context(const Model& model, CacheType type) {
  ContextOptions options;
  options.n_ctx = 64;
  options.cache = type;
  return must(Context::create(model, options));
}

TEST(StateFormat, UsualTurnsAreThoseOfQuantisedCaches) {
  const TempDir dir;
  for (const char* architecture : {"llama", "gemma3"}) {
    for (const int head_dim : {32, 64, 96, 128, 192}) {
      TinyOptions options;
      options.architecture = architecture;
      options.head_dim = head_dim;
      TinyModel(options).save(dir.file("m.gguf"));
      const Model model = must(Model::load(dir.file("m.gguf")));
      const std::vector<Turns> usual = usual_turns(model.shape());
      const std::vector<Turns> none(usual.size());
      EXPECT_THAT(make_context(model, CacheType::q8_0).turns(), ::testing::ElementsAreArray(usual))
          << architecture << head_dim;
      EXPECT_THAT(make_context(model, CacheType::f16).turns(), ::testing::ElementsAreArray(none));
      EXPECT_EQ(usual[0].keys > 0, head_dim % 64 == 0);
      ::setenv("LLAMA_ATTN_ROT_DISABLE", "1", 1);
      EXPECT_THAT(make_context(model, CacheType::q8_0).turns(), ::testing::ElementsAreArray(none));
      ::unsetenv("LLAMA_ATTN_ROT_DISABLE");
    }
  }
}

TEST(StateFormat, HeadsThatDifferInACacheAreNotTurned) {
  ModelShape shape;
  shape.layers.resize(3);
  for (LayerShape& layer : shape.layers) layer.key_dim = layer.value_dim = 128;
  EXPECT_THAT(usual_turns(shape), ::testing::Each(Turns{128, 64}));
  shape.layers[2].key_dim = 64;
  EXPECT_THAT(usual_turns(shape), ::testing::Each(Turns{0, 64}));
  shape.layers[2].window = 16;  // in a cache of its own
  EXPECT_THAT(usual_turns(shape),
              ::testing::ElementsAre(Turns{128, 64}, Turns{128, 64}, Turns{64, 64}));
}

TEST(StateFormat, NumbersAreLlamas) {
  EXPECT_EQ(kMostStreams, llama_max_parallel_sequences());
  const TempDir dir;
  TinyModel(TinyOptions{}).save(dir.file("m.gguf"));
  const Model model = must(Model::load(dir.file("m.gguf")));
  Context context = make_context(model, CacheType::f16);
  must(context.decode(letters(3)));
  const Bytes state = must(context.save_state());
  uint32_t magic = 0;
  std::memcpy(&magic, state.data(), sizeof magic);
  EXPECT_EQ(magic, kDataMagic);
}

}  // namespace
}  // namespace kvsplice::host
