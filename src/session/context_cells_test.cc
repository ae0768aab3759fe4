// Cells out of contexts and into them, whatever type their caches are of and however they turn
// heads.
#include "session/context_cells.h"

#include <gmock/gmock.h>

#include <cmath>
#include <cstdlib>

#include "core/half.h"
#include "host/tiny_model_test.h"

namespace kvsplice::session {
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
    model_.emplace(must(host::Model::load(dir_.file("m.gguf"))));
  }
  void TearDown() override { ::unsetenv(kDisable); }

  host::Context context(host::CacheType type) const {
    host::ContextOptions options;
    options.n_ctx = 64;
    options.cache = type;
    return must(host::Context::create(*model_, options));
  }
  static double distance(const Cells& a, const Cells& b) {
    double error = 0, power = 0;
    for (Kind kind : {Kind::key, Kind::value}) {
      for (size_t l = 0; l < a.of(kind).size(); ++l) {
        for (size_t i = 0; i < a.of(kind)[l].size(); ++i) {
          const double x = from_half(a.of(kind)[l].flat()[i]);
          error += std::pow(from_half(b.of(kind)[l].flat()[i]) - x, 2);
          power += x * x;
        }
      }
    }
    return std::sqrt(error / power);
  }

  const TempDir dir_;
  std::optional<host::Model> model_;
  const std::vector<int32_t> tokens_ = letters(kTokens);
};

TEST_F(ContextCells, AreTheSameInEveryCache) {
  host::Context exact = context(host::CacheType::f16);
  must(exact.decode(tokens_));
  const Cells cells = must(cells_of(exact, model_->shape(), tokens_));
  EXPECT_EQ(cells.tokens, tokens_);
  for (const char* disabled : {"0", "1"}) {
    ::setenv(kDisable, disabled, 1);
    for (const auto type : {host::CacheType::f32, host::CacheType::f16, host::CacheType::q8_0}) {
      const bool turned = type == host::CacheType::q8_0 && disabled[0] == '0';
      host::Context other = context(type);
      for (const host::Turns& turns : other.turns()) EXPECT_EQ(turns.keys, turned ? 64u : 0u);
      must(restore_cells(cells, model_->shape(), other));
      const Cells back = must(cells_of(other, model_->shape(), tokens_));
      EXPECT_LE(distance(cells, back), type == host::CacheType::q8_0 ? 0.01 : 0);
      // llama.cpp sees them as it sees its own: what it evaluates next agrees.
      host::Context own = context(type);
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
  host::Context made = context(host::CacheType::q8_0);
  must(made.decode(tokens_));
  Cells cells = must(cells_of(made, model_->shape(), tokens_));
  EXPECT_LT(must(distance_from_model(cells, *model_)), 0.02);
  std::rotate(cells.tokens.begin(), cells.tokens.begin() + 3, cells.tokens.end());
  EXPECT_GT(must(distance_from_model(cells, *model_)), 0.5);
}

TEST_F(ContextCells, OfOtherTypesAreRefused) {
  host::Context small = context(host::CacheType::q4_0);
  must(small.decode(tokens_));
  EXPECT_FALSE(cells_of(small, model_->shape(), tokens_).ok());
  const Cells cells = make_cells(model_->shape(), 0, 3);
  EXPECT_THAT(restore_cells(cells, model_->shape(), small).error().message,
              ::testing::HasSubstr("type q4_0; legal: f32, f16, q8_0"));
}

}  // namespace
}  // namespace kvsplice::session
