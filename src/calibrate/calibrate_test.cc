#include "calibrate/calibrate.h"

#include <gmock/gmock.h>

#include <algorithm>
#include <filesystem>

#include "calibrate/calibration_rows.h"
#include "calibrate/target.h"
#include "core/file.h"
#include "host/tiny_model_test.h"
#include "live/budget.h"

namespace kvsplice::calibrate {
namespace {

using ::kvsplice::testing::must;
using ::kvsplice::testing::TempDir;
using ::kvsplice::testing::TinyModel;
using ::kvsplice::testing::TinyOptions;
using ::testing::HasSubstr;

// The n-th text: words of its own in an order of its own.
std::string text_of(int n) {
  std::string text;
  for (int i = 0; i < 400; ++i) {
    text += static_cast<char>('a' + (i * i + 7 * n * i) % 26);
    if (i % (4 + n) == 0) text += ' ';
  }
  return text;
}

class CalibrateTest : public ::testing::Test {
 protected:
  void SetUp() override {
    TinyModel(TinyOptions{}).save(dir.file("m.gguf"));
    model.emplace(must(host::Model::load(dir.file("m.gguf"))));
    for (int n = 0; n < 3; ++n) {
      texts.push_back(dir.file(std::string(1, static_cast<char>('p' + n)) + ".txt"));
      must(write_text(texts.back(), text_of(n)));
    }
    options.pipeline = "klt | step(delta=0.3) | range";
    options.tokens = 3 * 256;
    options.sequence = 32;
    options.work = dir.file("work");
  }
  std::vector<extract::Sequence> sequences() {
    return must(spread_sequences(*model, texts, options.tokens, *options.sequence)).sequences;
  }

  TempDir dir;
  std::optional<host::Model> model;
  std::vector<std::string> texts;
  CalibrateOptions options;
};

TEST_F(CalibrateTest, SequencesAreSpreadAndTextsTakeTurns) {
  const auto made = sequences();
  ASSERT_EQ(made.size(), 24u);
  for (size_t i = 0; i < made.size(); ++i) {
    EXPECT_EQ(made[i].tokens.size(), 32u);
    EXPECT_EQ(made[i].tokens[0], model->bos());
    EXPECT_EQ(made[i].text, std::filesystem::path(texts[i % 3]).filename());
  }
  const auto whole = must(extract::read_sequence(*model, texts[0]));
  EXPECT_EQ(made[0].tokens[1], whole.tokens[1]);
  // The last sequence of a text begins behind 7 / 8 of what can be left out.
  const size_t last = 7 * 32 + (whole.tokens.size() - 256) * 7 / 8;
  EXPECT_EQ(made[21].tokens[5], whole.tokens[last + 5]);
}

TEST_F(CalibrateTest, GoesOnWhereItWasStopped) {
  const auto all = sequences();
  const auto dumps = [&] {
    using Files = std::filesystem::directory_iterator;
    return std::count_if(Files(options.work), Files(),
                         [](const auto& file) { return file.path().extension() == ".gguf"; });
  };
  const Progress stop{[&](const std::string&, size_t, size_t) { return dumps() < 2; }};
  EXPECT_FALSE(dump_sequences(*model, all, false, options.work, 1, {}, stop).ok());
  EXPECT_EQ(dumps(), 2);
  const auto begun = std::filesystem::last_write_time(
      must(dump_sequences(*model, all, false, options.work, 1, {}, {})).front());
  const auto paths = must(dump_sequences(*model, all, false, options.work, 1, {}, {}));
  EXPECT_EQ(paths.size(), 6u);
  EXPECT_EQ(std::filesystem::last_write_time(paths.front()), begun) << "made again";
  // Other tokens, other dumps.
  options.sequence = 16;
  for (const auto& path :
       must(dump_sequences(*model, sequences(), false, options.work, 1, {}, {}))) {
    EXPECT_THAT(paths, ::testing::Not(::testing::Contains(path)));
  }
}

TEST_F(CalibrateTest, SomeDumpsHoldQueriesAndServeOthersToo) {
  const auto paths = must(dump_sequences(*model, sequences(), true, options.work, 1, {}, {}));
  ASSERT_EQ(paths.size(), 6u);
  for (size_t i = 0; i < paths.size(); ++i) {
    EXPECT_EQ(must(extract::Dump::open(paths[i])).has(host::Signal::query), i < 5) << i;
  }
  EXPECT_EQ(must(dump_sequences(*model, sequences(), false, options.work, 1, {}, {})), paths);
}

TEST_F(CalibrateTest, FocusLearnsFromQueries) {
  options.pipeline = "layers(history=1) | focus | klt | step(delta=0.5) | range";
  const auto none = calibrate(*model, texts, options, {});
  ASSERT_FALSE(none.ok());  // of sequences of 32 no token is seen by enough others
  EXPECT_THAT(none.error().message, ::testing::HasSubstr("longer than 64 tokens"));
  options.sequence = 96;
  const auto made = must(calibrate(*model, texts, options, {}));
  size_t focused = 0;
  for (const auto& unit : made.codec.units()) focused += !unit.stages()[1]->save().empty();
  EXPECT_EQ(focused, made.codec.units().size() - 1) << "all but the first layer's keys";
}

TEST_F(CalibrateTest, FitsOnEverythingWithoutATarget) {
  const auto made = must(calibrate(*model, texts, options, {}));
  EXPECT_EQ(made.tokens, 24u * (32 - 4));
  EXPECT_EQ(made.held, 0u);
  EXPECT_EQ(made.codec.calibration_tokens(), made.tokens);
  EXPECT_EQ(made.codec.shape(), model->shape());
}

TEST_F(CalibrateTest, MeetsATargetRatioOnSequencesKeptOut) {
  for (double target : {3.5, 5.0}) {
    options.ratio = target;
    const auto made = must(calibrate(*model, texts, options, {}));
    EXPECT_EQ(made.held, 3u);
    EXPECT_EQ(made.tokens, 21u * (32 - 4));
    EXPECT_NEAR(made.trials.back().ratio, target, 0.021 * target);
    const auto whole = [&](const Trial& trial) { return trial.tokens == made.tokens; };
    EXPECT_LE(std::count_if(made.trials.begin(), made.trials.end(), whole), 3);
    EXPECT_FALSE(whole(made.trials.front())) << "the first fits take a part of the rows";
  }
}

TEST_F(CalibrateTest, MeetsATargetDivergence) {
  options.kld = 1e-3;
  options.sequence = 96;  // rows are replaced every 32 tokens
  options.tokens = 3 * 384;
  const auto made = must(calibrate(*model, texts, options, {}));
  EXPECT_NEAR(made.trials.back().kld, 1e-3, 2.1e-5);
  EXPECT_GT(made.trials.back().ratio, 1);
}

TEST(SequenceOf, IsLongerForLiveCachesAndWithinTheModelsContext) {
  TempDir dir;
  const auto length = [&](int context, CalibrateOptions options) {
    TinyOptions tiny;
    tiny.context = context;
    TinyModel(tiny).save(dir.file("m.gguf"));
    return sequence_of(must(host::Model::load(dir.file("m.gguf"))), options);
  };
  CalibrateOptions options;
  options.tokens = 20480;
  EXPECT_EQ(length(8192, options), 1024u);
  EXPECT_EQ(length(512, options), 512u);
  options.live = true;
  EXPECT_EQ(length(8192, options), 4096u);
  EXPECT_EQ(length(3000, options), 3000u);
  options.ratio = 8;
  EXPECT_EQ(length(8192, options), 2048u) << "a target wants eight";
  options.tokens = 1000;
  EXPECT_EQ(length(8192, options), 1024u);
  options.sequence = 5000;
  EXPECT_EQ(length(512, options), 5000u) << "who names a length gets it";
}

TEST_F(CalibrateTest, KeepsALiveCacheWithinItsMemory) {
  options.pipeline = {};
  options.live = true;
  constexpr size_t kTokens = 3000;
  options.limit = {model->shape().f16_bytes_per_token() * kTokens / 2, kTokens};
  const auto made = must(calibrate(*model, texts, options, {}));
  const auto form = must(live::LiveForm::of(made.codec));
  const live::Budget budget(form, {}, host::kLiveCells);
  EXPECT_LE(budget.bytes(kTokens), options.limit->bytes);
  EXPECT_GE(double(budget.bytes(kTokens)), 0.95 * double(options.limit->bytes));
}

TEST_F(CalibrateTest, SaysWhatIsWrong) {
  const auto message = [&] {
    const auto made = calibrate(*model, texts, options, {});
    return made.ok() ? std::string() : made.error().message;
  };
  options.ratio = options.kld = 2;
  EXPECT_THAT(message(), HasSubstr("not both"));
  options.kld = {};
  options.ratio = -1;
  EXPECT_THAT(message(), HasSubstr("more than 0"));
  options.ratio = {};
  options.limit = {1 << 20, 1000};
  EXPECT_THAT(message(), HasSubstr("has 'widths'"));
  options.limit = {};
  options.ratio = 1e5;
  EXPECT_THAT(message(), HasSubstr("was not met in"));
  options.ratio = 3;
  options.tokens = 3 * 32;
  EXPECT_THAT(message(), HasSubstr("at least 8 sequences"));
  options.sequence = 5000;
  EXPECT_THAT(message(), HasSubstr("a sequence needs 5000"));
  options.pipeline = "f16";
  EXPECT_THAT(message(), HasSubstr("needs a stage 'step"));
  texts = {};
  options.ratio = {};
  EXPECT_THAT(message(), HasSubstr("no text"));
}

TEST(ScaleSteps, ScalesEveryStepAndNothingElse) {
  const auto text = must(codec::parse_codec("k: klt | step(delta=0.5,offset=0.3) ; v: klt | step"));
  const auto scaled = codec::print(scale_steps(text, 3));
  EXPECT_THAT(scaled, HasSubstr("delta=1.5"));
  EXPECT_THAT(scaled, HasSubstr("offset=0.3"));
  EXPECT_THAT(scaled, HasSubstr("delta=1.8")) << "the default is scaled, too";
}

}  // namespace
}  // namespace kvsplice::calibrate
