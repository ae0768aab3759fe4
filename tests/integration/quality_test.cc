// The in-loop measurement on the real small model, against what can be known without it.
#include "quality/quality.h"

#include <gtest/gtest.h>

#include <cmath>

#include "core/file.h"
#include "fit/block_rows.h"
#include "fit/fit_codec.h"
#include "host/cache_block.h"

namespace kvsplice::quality {
namespace {

class Loop : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    auto loaded = host::Model::load(KVSPLICE_TEST_MODEL);
    ASSERT_TRUE(loaded.ok()) << loaded.error().message;
    model = new host::Model(std::move(*loaded));
    const auto text = read_text(std::string(KVSPLICE_SOURCE_DIR) + "/samples/news.txt");
    ASSERT_TRUE(text.ok());
    tokens = *model->tokenize(*text);
  }
  static void TearDownTestSuite() {
    delete model;
    model = nullptr;
  }

  // A codec whose stages need not learn.
  static codec::Codec unfitted(const std::string& text) {
    auto codec = codec::Codec::create(*codec::parse_codec(text), model->shape());
    return std::move(*codec);
  }
  static std::vector<Outcome> measured(const std::vector<Subject>& subjects, Options options) {
    auto outcomes = measure(*model, tokens, subjects, options, {});
    EXPECT_TRUE(outcomes.ok()) << (outcomes.ok() ? "" : outcomes.error().message);
    return outcomes.ok() ? *outcomes : std::vector<Outcome>(8);
  }

  static inline host::Model* model = nullptr;
  static inline std::vector<host::Token> tokens;
  static constexpr Options kShort{128, 1, 0, 4, 0, 0, 0};
};

TEST_F(Loop, PerplexityOfF16IsThatOfAPlainEvaluation) {
  const auto outcomes = measured({}, kShort);
  host::ContextOptions plain;
  plain.n_ctx = plain.n_ubatch = 128;
  auto context = host::Context::create(*model, plain);
  ASSERT_TRUE(context.ok());
  std::vector<host::Token> chunk(tokens.begin(), tokens.begin() + 128);
  if (model->adds_bos()) chunk[0] = model->bos();
  // The same rows are asked for: the host's rounding depends on how many there are.
  ASSERT_TRUE(context->decode(chunk, 64).ok());
  double nll = 0;
  for (int i = 64; i < 127; ++i) {
    const auto logits = context->logits(i - 64);
    double sum = 0;
    for (float x : logits) sum += std::exp(double(x));
    nll += std::log(sum) - logits[tokens[i + 1]];
  }
  EXPECT_EQ(outcomes[0].scored, 63u);
  EXPECT_NEAR(outcomes[0].ppl / std::exp(nll / 63), 1, 1e-5);
  EXPECT_EQ(outcomes[0].kld_mean, 0);
}

TEST_F(Loop, NothingReplacedIsNothingChanged) {
  Options all_in_window = kShort;
  all_in_window.window = 127;
  const auto codec = unfitted("uniform(bits=2)");
  const auto outcomes = measured({{"u2", std::nullopt, &codec}}, all_in_window);
  EXPECT_EQ(outcomes[2].kld_mean, 0);
  EXPECT_EQ(outcomes[2].ppl, outcomes[1].ppl);
  EXPECT_EQ(outcomes[2].bits_per_value, 0);
}

TEST_F(Loop, FewerBitsDivergeMoreAndAllOfThemMoreThanTheFloor) {
  const auto u8 = unfitted("uniform(bits=8)"), u4 = unfitted("uniform(bits=4)"),
             u2 = unfitted("uniform(bits=2)");
  const auto o = measured({{"floor", std::nullopt, nullptr},
                           {"u8", std::nullopt, &u8},
                           {"u4", std::nullopt, &u4},
                           {"u2", std::nullopt, &u2}},
                          kShort);
  ASSERT_EQ(o.size(), 6u);  // two bases and four subjects
  EXPECT_EQ(o[1].cache, "f16 (step 32)");
  const double floor = o[2].kld_mean;
  EXPECT_GT(floor, 0);
  EXPECT_LT(floor, 0.02);
  EXPECT_LT(o[3].kld_mean, 0.03);
  EXPECT_GT(o[4].kld_mean, floor);
  EXPECT_GT(o[5].kld_mean, 4 * o[4].kld_mean);
  EXPECT_GT(o[5].ppl, o[1].ppl);
}

TEST_F(Loop, BytesAreThoseOfRealBlocks) {
  const auto codec = unfitted("uniform(bits=4,block=32)");
  Options options = kShort;
  const auto o = measured({{"u4", std::nullopt, &codec}}, options);
  // 4 bits and an f16 scale for 32 values; lengths and headers add under 2 %.
  EXPECT_GE(o[2].bits_per_value, 4.5);
  EXPECT_LT(o[2].bits_per_value, 4.6);
  EXPECT_NEAR(o[2].ratio, 16 / o[2].bits_per_value, 1e-9);
  // 92 of 128 tokens are coded: 4 sinks and the last 32 stay f16.
  const double coded = 92 * o[2].bits_per_value / 16;
  EXPECT_NEAR(o[2].ratio_with_window, 128 / (coded + 36), 1e-6);
}

// Where rows depend on rows before them, coding them step by step gives what coding them at once
// does: as many bytes, and as much divergence, as the same codec whose rows do not look back has
// with a few more bytes.
TEST_F(Loop, DependentRowsAreCodedStepByStep) {
  host::ContextOptions plain;
  plain.n_ctx = 512;
  auto context = host::Context::create(*model, plain);
  ASSERT_TRUE(context.ok());
  const std::vector<host::Token> text(tokens.begin() + 200, tokens.begin() + 712);
  ASSERT_TRUE(context->decode(text, 0).ok());
  const codec::BlockRows rows(host::read_block(*context, model->shape(), text, 4, 508).value());
  const auto fitted = [&](const std::string& step) {
    const auto pipeline = *codec::parse_codec("klt | " + step + " | range");
    return codec::fit_codec(pipeline, model->shape(), rows, nullptr, {}).value();
  };
  const auto alone = fitted("step(delta=0.3)");
  const auto together = fitted("step(delta=0.3,recall=48,recall_history=1)");
  Options in_sixteens = kShort;
  in_sixteens.step = 16;
  const auto by_32 =
      measured({{"alone", std::nullopt, &alone}, {"together", std::nullopt, &together}}, kShort);
  const auto by_16 = measured({{"together", std::nullopt, &together}}, in_sixteens);
  EXPECT_LT(by_32[3].bits_per_value, 0.995 * by_32[2].bits_per_value);
  EXPECT_GT(by_32[3].bits_per_value, 0.7 * by_32[2].bits_per_value);
  EXPECT_LT(by_32[3].kld_mean, 2 * by_32[2].kld_mean);
  EXPECT_GT(by_32[3].kld_mean, by_32[2].kld_mean / 2);
  EXPECT_NEAR(by_16[2].bits_per_value / by_32[3].bits_per_value, 1, 0.03);
  EXPECT_NEAR(by_32[3].entropy_bits_per_value / by_32[3].bits_per_value, 1, 0.25);
}

TEST_F(Loop, QuantisedCacheTypesAreOrdered) {
  const auto o = measured(
      {{"q8_0", host::CacheType::q8_0, nullptr}, {"q4_0", host::CacheType::q4_0, nullptr}}, kShort);
  ASSERT_EQ(o.size(), 3u);
  EXPECT_GT(o[1].kld_mean, 0);
  EXPECT_LT(o[1].kld_mean, 0.03);
  EXPECT_GT(o[2].kld_mean, o[1].kld_mean);
  EXPECT_LT(o[2].kld_mean, 0.5);
  EXPECT_EQ(o[2].bits_per_value, 4.5);
}

TEST_F(Loop, SameCommandSameResultWithAnyNumberOfThreads) {
  const auto codec = unfitted("hadamard | uniform(bits=4)");
  Options one = kShort, two = kShort;
  one.threads = 1;
  two.threads = 2;
  const auto a = measured({{"c", std::nullopt, &codec}}, one);
  const auto b = measured({{"c", std::nullopt, &codec}}, two);
  EXPECT_NEAR(a[2].kld_mean, b[2].kld_mean, 1e-3 * a[2].kld_mean);
  EXPECT_EQ(a[2].bits_per_value, b[2].bits_per_value);
}

}  // namespace
}  // namespace kvsplice::quality
