// Models whose attention takes values from the keys, from texts to a codec and to the cache again.
#include <fmt/format.h>
#include <gmock/gmock.h>

#include <cmath>

#include "calibrate/calibrate.h"
#include "core/file.h"
#include "evaluate/evaluate.h"
#include "host/cache_block.h"
#include "host/context_cells.h"
#include "host/tiny_model_test.h"
#include "quality/quality.h"

namespace kvsplice::calibrate {
namespace {

using ::kvsplice::testing::family;
using ::kvsplice::testing::letters;
using ::kvsplice::testing::must;
using ::kvsplice::testing::TempDir;
using ::kvsplice::testing::TinyModel;
using ::testing::Contains;
using ::testing::HasSubstr;
using ::testing::Not;

class LatentTest : public ::testing::Test {
 protected:
  void SetUp() override { use("deepseek2+experts"); }
  void use(const char* name) {
    auto of_model = family(name);
    of_model.turned = 32;  // with which a row of q8_0 is full
    TinyModel(of_model).save(dir.file("m.gguf"));
    model.emplace(must(host::Model::load(dir.file("m.gguf"))));
    std::string text;
    for (int i = 0; i < 1500; ++i) text += i % 7 == 0 ? ' ' : char('a' + (i * i + 3 * i) % 26);
    must(write_text(dir.file("t.txt"), text));
    options.tokens = 1024;
    options.sequence = 128;
    options.work = dir.file("work");
  }
  Result<Calibration> calibrated() { return calibrate(*model, {dir.file("t.txt")}, options, {}); }

  TempDir dir;
  std::optional<host::Model> model;
  CalibrateOptions options;
};

TEST_F(LatentTest, TheDefaultPipelineIsThatOfOtherModels) {
  const auto made = must(calibrated());
  EXPECT_THAT(made.notes, Not(Contains(HasSubstr("without"))));
  const std::string text = codec::print(made.codec.text());
  for (const char* stage : {"layers(", "focus", "fisher"}) EXPECT_THAT(text, HasSubstr(stage));
  ASSERT_EQ(made.codec.units().size(), 3u);
  for (size_t i = 0; i < 3; ++i) {  // the lowest layer's rows have nothing below to tell of them
    EXPECT_EQ(made.codec.units()[i].stages()[1]->save().empty(), i == 0);
  }
}

// Where weights are random there is hardly anything to gain, but nothing is lost. Without experts,
// since a choice that flips costs more than any stage gains.
TEST_F(LatentTest, FocusCostsNothingAtTheSameBytes) {
  use("deepseek2");
  options.ratio = 6;
  quality::Options loop;
  loop.n_ctx = 128;
  loop.chunks = 4;
  std::vector<double> divergences;
  for (const char* focus : {"", "focus | "}) {
    options.pipeline = fmt::format("layers(history=1) | {}klt | step | range", focus);
    const auto made = must(calibrated());
    EXPECT_NEAR(made.trials.back().ratio, 6, 0.15);
    divergences.push_back(must(quality::measure(*model, letters(512),
                                                {{"codec", std::nullopt, &made.codec}}, loop, {}))
                              .back()
                              .kld_mean);
  }
  EXPECT_NE(divergences[1], divergences[0]);
  EXPECT_NEAR(divergences[1] / divergences[0], 1, 0.5) << divergences[0];  // both are tiny
}

TEST_F(LatentTest, SessionsHoldWhatTheCodecMakesOfTheCache) {
  options.pipeline = "layers(history=1) | fisher | klt | step(delta=0.1) | range";
  const codec::Codec codec = std::move(must(calibrated()).codec);
  const std::vector<int32_t> tokens = letters(100);
  host::ContextOptions of_context;
  of_context.n_ctx = 128;
  host::Context context = must(host::Context::create(*model, of_context));
  must(context.decode(tokens));
  const host::StateCells cells = must(host::cells_of(context, model->shape(), tokens));
  const codec::Embeddings embeddings = host::embeddings_of(*model);
  const session::Coder coder{model->shape(), &codec, &embeddings};
  must(session::pack(dir.file("s.kvz"), cells.cells, {}, coder, {64, 4, 8}, {}));
  const auto session = must(session::Session::open(dir.file("s.kvz"), coder));
  host::Context other = must(host::Context::create(*model, of_context));
  EXPECT_EQ(must(host::restore_session(session, model->shape(), other, {})), tokens);
  must(context.decode(letters(1), 1));
  must(other.decode(letters(1), 1));
  double error = 0, power = 0;
  for (size_t i = 0; i < context.logits(0).size(); ++i) {
    error += std::pow(double(context.logits(0)[i]) - other.logits(0)[i], 2);
    power += std::pow(double(context.logits(0)[i]), 2);
  }
  EXPECT_GT(error, 0);
  EXPECT_LT(std::sqrt(error / power), 0.1);
}

// llama.cpp turns no heads of such caches before it quantises them.
TEST_F(LatentTest, CellsOfQ8AreNearThoseOfF16) {
  const std::vector<int32_t> tokens = letters(60);
  std::vector<host::StateCells> cells;
  for (const auto type : {host::CacheType::f16, host::CacheType::q8_0}) {
    host::ContextOptions of_context;
    of_context.n_ctx = 64;
    of_context.cache = type;
    host::Context context = must(host::Context::create(*model, of_context));
    must(context.decode(tokens));
    cells.push_back(must(host::cells_of(context, model->shape(), tokens)));
  }
  const Space space = Space::cached;
  const auto exact = rows_in(cells[0].cells, model->shape(), Kind::key, 0, space);
  const auto near = rows_in(cells[1].cells, model->shape(), Kind::key, 0, space);
  double error = 0, power = 0;
  for (size_t i = 0; i < exact.size(); ++i) {
    error += std::pow(double(exact.flat()[i]) - near.flat()[i], 2);
    power += std::pow(double(exact.flat()[i]), 2);
  }
  EXPECT_GT(error, 0);
  EXPECT_LT(std::sqrt(error / power), 0.02);
}

TEST_F(LatentTest, QualityAndErrorsAreMeasured) {
  options.pipeline = "klt | step(delta=0.3) | range";
  options.ratio = 4;
  const auto made = must(calibrated());
  EXPECT_NEAR(made.trials.back().ratio, 4, 0.1);
  quality::Options loop;
  loop.n_ctx = 128;
  loop.chunks = 2;
  const std::vector<quality::Subject> subjects = {{"f16", host::CacheType::f16, nullptr},
                                                  {"q8_0", host::CacheType::q8_0, nullptr},
                                                  {"codec", std::nullopt, &made.codec}};
  const auto outcomes = must(quality::measure(*model, letters(300), subjects, loop, {}));
  for (const auto& outcome : outcomes) {
    if (outcome.cache == "codec") {
      EXPECT_GT(outcome.kld_mean, 0);
      EXPECT_LT(outcome.kld_mean, 1);
    }
  }
  extract::ExtractOptions some;
  some.tokens = 200;
  must(extract::extract(*model, {dir.file("t.txt")}, some, dir.file("dump.gguf"), {}));
  const auto dump = must(extract::Dump::open(dir.file("dump.gguf")));
  EXPECT_EQ(must(dump.read(host::Signal::query, 0)).cols(), 4u * (64 + 32));
  EXPECT_EQ(must(dump.read(host::Signal::value, 0)).cols(), 0u);
  const auto errors = must(evaluate::evaluate(made.codec, "c", dump, {}, nullptr, {}));
  EXPECT_TRUE(errors.attention.empty());
  EXPECT_GT(errors.errors(Kind::key).cosine_mean(), 0.9);
  EXPECT_EQ(errors.errors(Kind::value).vectors(), 0u);
  EXPECT_GT(errors.ratio(), 2);
}

}  // namespace
}  // namespace kvsplice::calibrate
