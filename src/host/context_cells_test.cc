// Cells out of contexts and into them, whatever type their caches are of and however they turn
// heads.
#include "host/context_cells.h"

#include <gmock/gmock.h>

#include <cmath>
#include <cstdlib>

#include "host/state_target.h"
#include "host/tiny_model_test.h"
#include "session/generated_cells.h"

namespace kvsplice::host {
namespace {

using kvsplice::testing::letters;
using kvsplice::testing::must;
using kvsplice::testing::TempDir;
using kvsplice::testing::TinyModel;
using kvsplice::testing::TinyOptions;

constexpr const char* kDisable = "LLAMA_ATTN_ROT_DISABLE";
constexpr size_t kTokens = 40;

class ContextCells : public ::testing::Test {
 protected:
  void SetUp() override {
    TinyOptions options;
    options.head_dim = 64;
    TinyModel(options).save(dir_.file("m.gguf"));
    model_.emplace(must(Model::load(dir_.file("m.gguf"))));
  }
  void TearDown() override { ::unsetenv(kDisable); }

  Context context(CacheType type) const {
    ContextOptions options;
    options.n_ctx = 64;
    options.cache = type;
    return must(Context::create(*model_, options));
  }
  static double distance(const KvView& a, const KvView& b) {
    double error = 0, power = 0;
    for (Kind kind : {Kind::key, Kind::value}) {
      for (size_t l = 0; l < a.of(kind).size(); ++l) {
        const auto from = session::all_rows<float>(a, kind, l);
        const auto to = session::all_rows<float>(b, kind, l);
        for (size_t i = 0; i < from.size(); ++i) {
          error += std::pow(double(to.flat()[i]) - from.flat()[i], 2);
          power += double(from.flat()[i]) * from.flat()[i];
        }
      }
    }
    return std::sqrt(error / power);
  }

  const TempDir dir_;
  std::optional<Model> model_;
  const std::vector<int32_t> tokens_ = letters(kTokens);
};

TEST_F(ContextCells, AreTheSameInEveryCache) {
  Context exact = context(CacheType::f16);
  must(exact.decode(tokens_));
  const StateCells cells = must(cells_of(exact, model_->shape(), tokens_));
  EXPECT_EQ(cells.tokens, tokens_);
  EXPECT_TRUE(cells.copied.empty());
  for (const char* disabled : {"0", "1"}) {
    ::setenv(kDisable, disabled, 1);
    for (const auto type : {CacheType::f32, CacheType::f16, CacheType::q8_0}) {
      const bool turned = type == CacheType::q8_0 && disabled[0] == '0';
      Context other = context(type);
      for (const Turns& turns : other.turns()) EXPECT_EQ(turns.keys, turned ? 64u : 0u);
      must(restore_cells(cells.cells, model_->shape(), other));
      const StateCells back = must(cells_of(other, model_->shape(), tokens_));
      EXPECT_LE(distance(cells.cells, back.cells), type == CacheType::q8_0 ? 0.01 : 0);
      // llama.cpp sees them as it sees its own: what it evaluates next agrees.
      Context own = context(type);
      must(own.decode(tokens_));
      must(own.decode(letters(1), 1));
      must(other.decode(letters(1), 1));
      double error = 0, power = 0;
      for (size_t i = 0; i < own.logits(0).size(); ++i) {
        error += std::pow(double(own.logits(0)[i]) - other.logits(0)[i], 2);
        power += std::pow(double(own.logits(0)[i]), 2);
      }
      EXPECT_LT(std::sqrt(error / power), 0.02) << disabled << int(type);
    }
  }
}

TEST_F(ContextCells, AreComparedWithWhatTheModelMakes) {
  Context made = context(CacheType::q8_0);
  must(made.decode(tokens_));
  StateCells cells = must(cells_of(made, model_->shape(), tokens_));
  EXPECT_LT(must(distance_from_model(cells.cells, *model_)), 0.02);
  std::rotate(cells.tokens.begin(), cells.tokens.begin() + 3, cells.tokens.end());
  EXPECT_GT(must(distance_from_model(cells.cells, *model_)), 0.5);
}

// Straight from the file to where llama.cpp reads them.
TEST_F(ContextCells, OfASessionAreRestored) {
  Context exact = context(CacheType::f16);
  must(exact.decode(tokens_));
  const StateCells cells = must(cells_of(exact, model_->shape(), tokens_));
  const session::Coder coder{model_->shape(), nullptr, nullptr};
  must(session::pack(dir_.file("s.kvz"), cells.cells, {}, coder, {}, {}));
  const auto session = must(session::Session::open(dir_.file("s.kvz"), coder));
  for (const auto type : {CacheType::f32, CacheType::f16, CacheType::q8_0}) {
    Context other = context(type);
    EXPECT_EQ(must(restore_session(session, model_->shape(), other, {})), tokens_);
    const StateCells back = must(cells_of(other, model_->shape(), tokens_));
    EXPECT_LE(distance(cells.cells, back.cells), type == CacheType::q8_0 ? 0.01 : 0);
  }
}

TEST_F(ContextCells, OfOtherTypesAreRefused) {
  Context small = context(CacheType::q4_0);
  must(small.decode(tokens_));
  EXPECT_FALSE(cells_of(small, model_->shape(), tokens_).ok());
  const KvBlock<uint16_t> cells(model_->shape(), Space::cached, 0, 3);
  EXPECT_THAT(restore_cells(cells, model_->shape(), small).error().message,
              ::testing::HasSubstr("type q4_0; legal: f32, f16, q8_0"));
}

// What llama.cpp saves is written as it was, and what it evaluates next is the same to the bit.
class StatesOf : public ::testing::TestWithParam<const char*> {};

TEST_P(StatesOf, ComeBackToTheBit) {
  const TempDir dir;
  TinyModel(kvsplice::testing::family(GetParam())).save(dir.file("m.gguf"));
  const Model model = must(Model::load(dir.file("m.gguf")));
  const std::vector<int32_t> tokens = letters(kTokens);
  for (const bool flash : {true, false}) {
    ContextOptions options;
    options.n_ctx = 64;
    options.flash_attention = flash;
    Context saved = must(Context::create(model, options));
    must(saved.decode(tokens));
    const Bytes state = must(saved.save_state());
    const StateBlob blob = must(parse_state(state, hints_of(model.shape())));
    EXPECT_EQ(blob.bytes_behind, 0u);
    const StateCells cells = must(to_cells(blob, model.shape(), tokens));
    const StateTarget target = must(target_like(blob, model.shape()));
    const Bytes again = must(to_state(cells.cells, {}, model.shape(), target));
    EXPECT_TRUE(again == state);
    Context loaded = must(Context::create(model, options));
    must(loaded.load_state(again));
    must(saved.decode(letters(3, 5), 1));
    must(loaded.decode(letters(3, 5), 1));
    EXPECT_TRUE(std::ranges::equal(saved.logits(0), loaded.logits(0)));
  }
}

INSTANTIATE_TEST_SUITE_P(All, StatesOf,
                         ::testing::Values("llama", "deci+gap", "qwen2vl", "qwen3vl",
                                           "glm4+sections", "glm4moe+sections", "minicpm3",
                                           "deepseek2", "deepseek2+experts"),
                         [](const auto& of) { return kvsplice::testing::family_name(of.param); });

}  // namespace
}  // namespace kvsplice::host
