// Restored prompts, continuations and retrieval on a generated model.
#include "quality/stored_prompt.h"

#include <gmock/gmock.h>

#include <algorithm>
#include <cmath>
#include <set>

#include "fit/block_rows.h"
#include "fit/fit_codec.h"
#include "host/cache_block.h"
#include "host/tiny_model_test.h"
#include "quality/follow.h"
#include "quality/retrieval.h"

namespace kvsplice::quality {
namespace {

using ::kvsplice::testing::letters;
using ::kvsplice::testing::must;
using ::kvsplice::testing::TempDir;
using ::kvsplice::testing::TinyModel;
using ::kvsplice::testing::TinyOptions;
using ::testing::HasSubstr;
using Tokens = std::vector<host::Token>;

class StoredPromptTest : public ::testing::Test {
 protected:
  void SetUp() override {
    TinyOptions options;
    options.context = 2048;
    TinyModel(options).save(dir.file("m.gguf"));
    model.emplace(must(host::Model::load(dir.file("m.gguf"))));
  }
  codec::Codec codec(const std::string& text) const {
    return must(codec::Codec::create(must(codec::parse_codec(text)), model->shape()));
  }
  StoredPrompt prompt(size_t n, PromptOptions options = {}) const {
    return must(StoredPrompt::evaluate(*model, letters(n), options));
  }
  // Logits behind the prompt after one more token.
  static std::vector<float> next(StoredPrompt& p) {
    const host::Token token = 270;
    must(p.context().decode({&token, 1}, 1));
    const auto logits = p.context().logits(0);
    return {logits.begin(), logits.end()};
  }
  static double distance(const std::vector<float>& a, const std::vector<float>& b) {
    double sum = 0, squares = 0;
    for (size_t i = 0; i < a.size(); ++i) {
      sum += double(a[i] - b[i]) * (a[i] - b[i]);
      squares += double(a[i]) * a[i];
    }
    return std::sqrt(sum / squares);
  }

  TempDir dir;
  std::optional<host::Model> model;
};

TEST_F(StoredPromptTest, ALiveCacheComesBackAsItStoodBehindThePrompt) {
  auto plain = prompt(700);
  const codec::BlockRows rows(
      must(host::read_block(plain.context(), model->shape(), letters(700), 0, 700)));
  const auto text = must(codec::parse_codec("k: rotate|widths(delta=0.5); v: widths(delta=0.5)"));
  PromptOptions options;
  options.room = 400;
  options.live = std::make_shared<live::LiveForm>(
      must(live::LiveForm::of(must(codec::fit_codec(text, model->shape(), rows, nullptr, {})))));
  auto stored = prompt(700, options);
  EXPECT_EQ(must(stored.restore(nullptr)), 0u);
  const size_t coded = stored.context().live_cells()->tokens;
  EXPECT_GT(coded, 0u);
  const auto first = next(stored);
  EXPECT_GT(distance(next(plain), first), 1e-4);
  EXPECT_LT(distance(next(plain), first), 0.3);
  must(stored.context().decode(letters(300)));
  EXPECT_GT(stored.context().live_cells()->tokens, coded);
  must(stored.rewind());
  EXPECT_EQ(stored.context().live_cells()->tokens, coded);
  EXPECT_EQ(next(stored), first);
}

TEST_F(StoredPromptTest, WithoutACodecItIsThePlainEvaluation) {
  auto stored = prompt(40);
  EXPECT_EQ(must(stored.restore(nullptr)), 0u);
  host::ContextOptions options;
  options.n_ctx = options.n_ubatch = int(40 + PromptOptions().room);
  auto plain = must(host::Context::create(*model, options));
  must(plain.decode(letters(40)));
  const host::Token token = 270;
  must(plain.decode({&token, 1}, 1));
  const auto logits = plain.logits(0);
  EXPECT_EQ(next(stored), std::vector<float>(logits.begin(), logits.end()));
}

TEST_F(StoredPromptTest, RestoringUndoesWhatFollowedAndEarlierCodecs) {
  auto stored = prompt(40);
  must(stored.restore(nullptr));
  const auto exact = next(stored);
  const auto coarse = codec("uniform(bits=2)");
  must(stored.restore(&coarse));
  const auto rough = next(stored);
  EXPECT_NE(rough, exact);
  must(stored.restore(nullptr));
  EXPECT_EQ(stored.context().size(), 40u);
  EXPECT_EQ(next(stored), exact);
  must(stored.restore(&coarse));
  EXPECT_EQ(next(stored), rough);
}

TEST_F(StoredPromptTest, SlidingWindowsAreRestoredToo) {
  TinyOptions options;
  options.architecture = "gemma3";
  TinyModel(options).save(dir.file("m.gguf"));
  model.emplace(must(host::Model::load(dir.file("m.gguf"))));
  auto stored = prompt(40);
  const auto exact = next(stored);
  const auto coarse = codec("uniform(bits=2)");
  must(stored.restore(&coarse));
  EXPECT_NE(next(stored), exact);
  must(stored.restore(nullptr));
  EXPECT_EQ(next(stored), exact);
}

TEST_F(StoredPromptTest, HybridsGoBackWithTheirRecurrentState) {
  for (const char* name : {"granitehybrid", "qwen3next", "lfm2+window"}) {
    TinyModel(kvsplice::testing::family(name)).save(dir.file("m.gguf"));
    model.emplace(must(host::Model::load(dir.file("m.gguf"))));
    auto stored = prompt(40);
    const auto exact = next(stored);
    const auto coarse = codec("uniform(bits=2)");
    must(stored.restore(&coarse));
    EXPECT_NE(next(stored), exact) << name;
    must(stored.restore(nullptr));
    EXPECT_EQ(stored.context().size(), 40u);
    EXPECT_EQ(next(stored), exact) << name;
    must(stored.rewind());
    EXPECT_EQ(next(stored), exact) << name;
  }
}

TEST_F(StoredPromptTest, QuantisedCachesAreRestoredByDroppingWhatFollowed) {
  PromptOptions options;
  options.cache = host::CacheType::q8_0;
  auto stored = prompt(40, options);
  const auto once = next(stored);
  EXPECT_EQ(must(stored.restore(nullptr)), 0u);
  EXPECT_EQ(stored.context().size(), 40u);
  EXPECT_EQ(next(stored), once);
  const auto coarse = codec("uniform(bits=2)");
  EXPECT_FALSE(stored.restore(&coarse).ok());
}

TEST_F(StoredPromptTest, FewerBitsChangeMoreAndSinksNothing) {
  auto stored = prompt(40);
  must(stored.restore(nullptr));
  const auto exact = next(stored);
  double before = 0;
  for (int bits : {8, 4, 2}) {
    const auto uniform = codec("uniform(bits=" + std::to_string(bits) + ")");
    must(stored.restore(&uniform));
    const double error = distance(exact, next(stored));
    EXPECT_GT(error, 2 * before) << bits;
    before = error;
  }
  EXPECT_GT(before, 1e-3);
  PromptOptions all_exact;
  all_exact.sinks = 40;
  auto sinks = prompt(40, all_exact);
  const auto coarse = codec("uniform(bits=2)");
  EXPECT_EQ(must(sinks.restore(&coarse)), 0u);
  EXPECT_EQ(next(sinks), exact);
}

TEST_F(StoredPromptTest, BytesAreThoseOfBlocksOf256) {
  auto stored = prompt(4 + 256 + 100);
  const auto coarse = codec("uniform(bits=4,block=32)");
  // 4 bits and an f16 scale for 32 values, for 256 and for 100 rows; headers add under 2 %.
  const double least = 356 * double(model->shape().values_per_token()) * (4 + 0.5) / 8;
  const size_t bytes = must(stored.restore(&coarse));
  EXPECT_GE(double(bytes), least);
  EXPECT_LT(double(bytes), 1.02 * least);
  // Codecs of whole blocks get one block.
  const auto whole = codec("svd(rank=2)");
  const size_t f32 = must(stored.restore(&whole)) / 4, heads = 2 * 3 * 2;
  EXPECT_GE(f32, heads * 2 * (356 + 1 + 32));
  EXPECT_LT(f32, heads * 2 * (356 + 1 + 32) + 40 * heads);
}

TEST_F(StoredPromptTest, SaysWhatIsWrong) {
  EXPECT_FALSE(StoredPrompt::evaluate(*model, {}, {}).ok());
  TinyOptions other;
  other.seed = 9;
  other.layers = 2;
  TinyModel(other).save(dir.file("other.gguf"));
  const auto stranger = must(host::Model::load(dir.file("other.gguf")));
  const auto wrong = must(codec::Codec::create(must(codec::parse_codec("f16")), stranger.shape()));
  auto stored = prompt(20);
  const auto done = stored.restore(&wrong);
  ASSERT_FALSE(done.ok());
  EXPECT_THAT(done.error().message, HasSubstr("was fitted for"));
}

TEST_F(StoredPromptTest, FollowingTheGreedyContinuationAgreesEverywhere) {
  auto stored = prompt(30);
  const Tokens lead = {265, 270};
  must(stored.restore(nullptr));
  const Tokens greedy = must(continue_greedily(stored.context(), lead, 20));
  ASSERT_EQ(greedy.size(), 20u);
  must(stored.restore(nullptr));
  const auto same = agreement(must(follow(stored.context(), lead, greedy)));
  EXPECT_TRUE(same.exact());
  EXPECT_EQ(same.until_divergence, 20u);
  EXPECT_EQ(same.share, 1);
  EXPECT_LT(same.log_prob, 0);

  // Another token at one place: it diverges there; what comes later is rated behind it.
  Tokens changed = greedy;
  changed[7] = changed[7] == 280 ? 281 : 280;
  must(stored.restore(nullptr));
  const auto ratings = must(follow(stored.context(), lead, changed));
  const auto other = agreement(ratings);
  EXPECT_EQ(other.until_divergence, 7u);
  EXPECT_FALSE(other.exact());
  EXPECT_LE(other.share, 0.95);
  must(stored.restore(nullptr));
  EXPECT_LT(ratings[7].log_prob, must(follow(stored.context(), lead, greedy))[7].log_prob);
}

TEST_F(StoredPromptTest, LogProbabilitiesAreThoseOfOneEvaluation) {
  auto stored = prompt(30);
  const Tokens lead = {265, 270}, target = letters(6, 3);
  must(stored.restore(nullptr));
  const auto ratings = must(follow(stored.context(), lead, target));
  must(stored.restore(nullptr));
  Tokens all = lead;
  all.insert(all.end(), target.begin(), target.end());
  must(stored.context().decode(all, all.size()));
  for (size_t i = 0; i < target.size(); ++i) {
    const auto logits = stored.context().logits(lead.size() - 1 + i);
    double sum = 0;
    for (float x : logits) sum += std::exp(double(x));
    const double expected = double(logits[size_t(target[i])]) - std::log(sum);
    EXPECT_NEAR(ratings[i].log_prob, expected, 2e-3) << i;
  }
  EXPECT_FALSE(follow(stored.context(), {}, target).ok());
  EXPECT_FALSE(follow(stored.context(), lead, {}).ok());
}

TEST(Agreement, CountsByHand) {
  const std::vector<Rating> ratings = {{true, -1}, {true, -2}, {false, -5}, {true, 0}};
  const Agreement a = agreement(ratings);
  EXPECT_EQ(a.tokens, 4u);
  EXPECT_EQ(a.until_divergence, 2u);
  EXPECT_DOUBLE_EQ(a.share, 0.75);
  EXPECT_DOUBLE_EQ(a.log_prob, -2);
  EXPECT_FALSE(a.exact());
}

TEST_F(StoredPromptTest, QuestionsRepeatTheirPairs) {
  const auto task = must(make_retrieval_task(*model, 1000, 3, 5));
  EXPECT_LE(task.prompt.size(), 1000u);
  EXPECT_GT(task.prompt.size(), 800u);
  ASSERT_EQ(task.questions.size(), 3u);
  std::set<Tokens> answers;
  double depth = -1;
  for (const auto& q : task.questions) {
    Tokens pair = q.lead;
    pair.insert(pair.end(), q.answer.begin(), q.answer.end());
    const auto at = std::search(task.prompt.begin(), task.prompt.end(), pair.begin(), pair.end());
    ASSERT_NE(at, task.prompt.end());
    // Its depth is where it stands.
    EXPECT_NEAR(double(at - task.prompt.begin()) / double(task.prompt.size() - pair.size()),
                q.depth, 0.1);
    EXPECT_GT(q.depth, depth);
    depth = q.depth;
    answers.insert(q.answer);
    std::string text;
    for (host::Token t : q.answer) text += model->piece(t);
    EXPECT_THAT(text, ::testing::ContainsRegex("[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}"));
  }
  EXPECT_EQ(answers.size(), 3u);
  EXPECT_EQ(must(make_retrieval_task(*model, 1000, 3, 5)).prompt, task.prompt);
  EXPECT_NE(must(make_retrieval_task(*model, 1000, 3, 6)).prompt, task.prompt);
  const auto small = make_retrieval_task(*model, 100, 3, 5);
  ASSERT_FALSE(small.ok());
  EXPECT_THAT(small.error().message, HasSubstr("3 questions need as many"));
}

TEST_F(StoredPromptTest, EveryQuestionIsAskedBehindThePromptAlone) {
  const auto task = must(make_retrieval_task(*model, 700, 2, 5));
  PromptOptions options;
  options.room = room_for(task);
  auto stored = must(StoredPrompt::evaluate(*model, task.prompt, options));
  must(stored.restore(nullptr));
  const auto both = must(answer(stored, task));
  ASSERT_EQ(both.size(), 2u);
  RetrievalTask second = task;
  second.questions.erase(second.questions.begin());
  must(stored.restore(nullptr));
  const auto alone = must(answer(stored, second));
  EXPECT_EQ(alone[0].log_prob, both[1].log_prob);
  EXPECT_NE(both[0].log_prob, both[1].log_prob);
  EXPECT_EQ(both[1].tokens, task.questions[1].answer.size());
}

}  // namespace
}  // namespace kvsplice::quality
