// Hybrid models in the loop: their recurrent state counts on both sides of ratios.
#include <gtest/gtest.h>

#include "host/tiny_model_test.h"
#include "quality/quality.h"
#include "quality/score.h"

namespace kvsplice::quality {
namespace {

using ::kvsplice::testing::family;
using ::kvsplice::testing::letters;
using ::kvsplice::testing::must;
using ::kvsplice::testing::TempDir;
using ::kvsplice::testing::TinyModel;

constexpr int kCtx = 64, kChunks = 2;

class HybridLoop : public ::testing::TestWithParam<const char*> {
 protected:
  HybridLoop() {
    TinyModel(family(GetParam())).save(dir_.file("m.gguf"));
    model_.emplace(must(host::Model::load(dir_.file("m.gguf"))));
  }
  std::vector<Outcome> measured(const std::vector<Subject>& subjects) const {
    return must(measure(*model_, letters(kCtx * kChunks), subjects,
                        {.n_ctx = kCtx, .chunks = kChunks, .threads = 1}, {}));
  }
  const ModelShape& shape() const { return model_->shape(); }

  TempDir dir_;
  std::optional<host::Model> model_;
};

TEST_P(HybridLoop, AnExactCodecChangesNothing) {
  const auto exact = must(codec::Codec::create(must(codec::parse_codec("f16")), shape()));
  const auto rough =
      must(codec::Codec::create(must(codec::parse_codec("uniform(bits=2)")), shape()));
  const auto outcomes = measured({{"exact", {}, &exact}, {"rough", {}, &rough}});
  ASSERT_EQ(outcomes.size(), 4u);
  // Keys that turn are turned back and forth.
  EXPECT_LT(outcomes[2].kld_mean, 1e-3);
  EXPECT_GT(outcomes[3].kld_mean, 10 * outcomes[2].kld_mean);
}

TEST_P(HybridLoop, StatesAreOnBothSides) {
  const auto four =
      must(codec::Codec::create(must(codec::parse_codec("uniform(bits=4)")), shape()));
  const auto outcomes = measured({{"q8_0", host::CacheType::q8_0, nullptr}, {"four", {}, &four}});
  const double state = double(shape().recurrent_bytes());
  const double held = shape().f16_bytes(kCtx);
  const Outcome &q8 = outcomes[1], &coded = outcomes.back();
  EXPECT_EQ(q8.state_bytes, shape().recurrent_bytes());
  EXPECT_NEAR(q8.ratio, (held + state) / (held * 8.5 / 16 + state), 1e-9);
  // Four bits and little more, of the rows behind four sinks that left the last step.
  EXPECT_GT(coded.bits_per_value, 4);
  EXPECT_LT(coded.bits_per_value, 6);
  EXPECT_LT(coded.ratio, 16 / coded.bits_per_value);
  EXPECT_LT(coded.ratio_with_window, coded.ratio);
  EXPECT_GT(coded.ratio_with_window, 1);
}

// Once, not at every step: what text says behind a restore hardly changes, and more with fewer
// bits.
TEST_P(HybridLoop, AStateMayBeRoundedOnce) {
  constexpr size_t kPrompt = 40, kNext = 20;
  host::ContextOptions options;
  options.n_ctx = kCtx;
  options.threads = 1;
  auto context = must(host::Context::create(*model_, options));
  must(context.decode(letters(kPrompt)));
  const auto exact = must(context.recurrent_state());
  const auto next = letters(kNext, 9);
  std::vector<std::vector<float>> base;
  must(context.decode(next, kNext));
  for (size_t i = 0; i < kNext; ++i) {
    base.emplace_back(context.logits(i).begin(), context.logits(i).end());
  }
  const auto divergence_of = [&](session::StateEncoding encoding) {
    const auto rounded =
        must(session::decode_state(session::encode_state(exact, encoding), kPrompt));
    must(context.go_back(rounded));
    must(context.decode(next, kNext));
    Divergence divergence;
    for (size_t i = 0; i < kNext; ++i) {
      divergence.add(LogProbs(base[i]), LogProbs(context.logits(i)), size_t(next[i]));
    }
    return divergence.summary().mean;
  };
  EXPECT_EQ(divergence_of(session::StateEncoding::exact), 0);
  const double halves = divergence_of(session::StateEncoding::f16);
  const double eighths = divergence_of(session::StateEncoding::q8);
  RecordProperty("f16_kld_e9", std::to_string(1e9 * halves));
  RecordProperty("q8_kld_e9", std::to_string(1e9 * eighths));
  EXPECT_LT(halves, 1e-6);
  EXPECT_GT(halves, 0);
  EXPECT_LT(eighths, 3e-5);
  EXPECT_GT(eighths, 10 * halves);
}

INSTANTIATE_TEST_SUITE_P(All, HybridLoop, ::testing::Values("qwen3next", "granitehybrid", "lfm2"));

}  // namespace
}  // namespace kvsplice::quality
