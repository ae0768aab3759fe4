// Gradients against differences: stored cells are moved while llama.cpp evaluates.
#include "host/gradient.h"

#include <fmt/format.h>
#include <gmock/gmock.h>

#include <numeric>
#include <set>

#include "host/differences_test.h"
#include "host/tiny_model_test.h"

namespace kvsplice::host {
namespace {

using ::kvsplice::testing::family;
using ::kvsplice::testing::family_name;
using ::kvsplice::testing::letters;
using ::kvsplice::testing::must;
using ::kvsplice::testing::TempDir;
using ::kvsplice::testing::TinyModel;

constexpr size_t kTokens = 24;

class GradientOf : public ::testing::TestWithParam<const char*> {
 protected:
  static Model load(const TempDir& dir, const std::string& name) {
    TinyModel(family(name)).save(dir.file("tiny.gguf"));
    return must(Model::load(dir.file("tiny.gguf")));
  }

  Result<Gradients> gradients(const GradientOptions& options) const {
    return gradients_of(model, tokens, options);
  }

  TempDir dir;
  Model model = load(dir, GetParam());
  std::vector<Token> tokens = letters(kTokens), next = letters(kTokens, 8);
};

TEST_P(GradientOf, StoredRowsIsWhatDifferencesSay) {
  GradientOptions options;
  options.next = next;
  const Gradients all = must(gradients(options));
  const auto& shape = model.shape();
  ASSERT_EQ(all.size(), (shape.lacks_values() ? 1 : 2) * shape.layers.size());
  const Agreement found = Differences(model, tokens, next).agreement(all, 48);
  RecordProperty("cosine", fmt::format("{:.4f}", found.cosine));
  RecordProperty("size", fmt::format("{:.4f}", found.size));
  RecordProperty("changed", found.changed);
  EXPECT_LT(found.changed, 24);
  EXPECT_GT(found.cosine, 0.997);
  EXPECT_NEAR(found.size, 1, 0.03);
}

// A prompt whose rows are changed: all by noise, as by a codec, those of one unit by more besides.
// That goes the way of the gradient behind other noise: what rounding in the host adds to a
// gradient has no part in it.
TEST_P(GradientOf, RowsOfAPromptIsWhatDifferencesSay) {
  if (model.shape().hybrid()) {
    LossOptions options;
    options.prompt = 4;
    const auto refused = loss_gradients(model, tokens, options);
    EXPECT_EQ(refused.error().kind, ErrorKind::unsupported);
    return;
  }
  const std::pair of{model.shape().lacks_values() ? Kind::key : Kind::value, 0};
  constexpr size_t kPrompt = kTokens / 2;
  std::vector<double> logs(kTokens - kPrompt);
  Matrix<float> direction;
  const auto evaluate = [&](uint64_t seed, float by, const TakeGradient& take) {
    LossOptions options;
    options.threads = 1;
    options.prompt = kPrompt;
    options.take = take;
    options.differentiate = [&](size_t i, std::span<float> logits) {
      const auto token = size_t(next[kPrompt + i]);
      double all = 0;
      for (float x : logits) all += std::exp(double(x));
      logs[i] = logits[token] - std::log(all);
      for (float& x : logits) x = float(-std::exp(double(x)) / all);
      logits[token] += 1;
    };
    options.change = [&](Kind kind, int layer, MatrixView<float> rows) -> Result<> {
      EXPECT_EQ(rows.rows, kPrompt);
      Random random(seed + uint64_t(layer) * 2 + (kind == Kind::key ? 0 : 1));
      for (size_t r = 0; r < rows.rows; ++r) {
        for (size_t c = 0; c < rows.cols; ++c) {
          rows(r, c) += 0.05f * float(random.normal());
          if (by != 0 && std::pair(kind, layer) == of) rows(r, c) += by * direction(r, c);
        }
      }
      return {};
    };
    EXPECT_TRUE(loss_gradients(model, tokens, options).ok());
    return std::accumulate(logs.begin(), logs.end(), 0.0);
  };
  // Where routers change their mind the prediction jumps, which no gradient tells: a smaller step,
  // and noise behind which no jump is near.
  const std::set<std::string> jumping{"glm4moe", "olmoe", "deepseek2+experts"};
  const bool jumps = jumping.contains(GetParam());
  const uint64_t noise = jumps ? 100 : 0;
  const double rms = jumps ? 0.01 : 0.03;
  size_t units = 0;
  evaluate(noise + 1000, 0, [&](Kind kind, int layer, MatrixView<const float> g) -> Result<> {
    ++units;
    EXPECT_EQ(g.rows, kPrompt);
    if (std::pair(kind, layer) == of) direction = copy(g);
    return {};
  });
  EXPECT_EQ(units, (model.shape().lacks_values() ? 1 : 2) * model.shape().layers.size());
  double square = 0, expected = 0;
  evaluate(noise, 0, [&](Kind kind, int layer, MatrixView<const float> g) -> Result<> {
    for (size_t i = 0; std::pair(kind, layer) == of && i < direction.size(); ++i) {
      expected += double(direction.flat()[i]) * g.data[i];
      square += double(direction.flat()[i]) * direction.flat()[i];
    }
    return {};
  });
  const auto by = float(rms * std::sqrt(double(direction.size()) / square));
  const double difference = (evaluate(noise, by, {}) - evaluate(noise, -by, {})) / (2 * by);
  RecordProperty("ratio", fmt::format("{:.4f}", difference / expected));
  EXPECT_NEAR(difference / expected, 1, 0.02);
}

// The score has a mean of zero if and only if the tokens are drawn from what is predicted.
TEST_P(GradientOf, DrawnTokensHasAMeanOfZero) {
  constexpr uint64_t kDraws = 60;
  const std::pair unit{model.shape().lacks_values() ? Kind::key : Kind::value, 0};
  Matrix<float> sum;
  double square = 0;
  for (uint64_t seed = 0; seed < kDraws; ++seed) {
    GradientOptions options;
    options.seed = seed;
    const Gradients all = must(gradients(options));
    const Matrix<float>& g = all.at(unit);
    if (sum.empty()) sum = Matrix<float>(g.rows(), g.cols());
    for (size_t i = 0; i < g.size(); ++i) {
      sum.flat()[i] += g.flat()[i];
      square += double(g.flat()[i]) * g.flat()[i];
    }
  }
  double of_sum = 0;
  for (float v : sum.flat()) of_sum += double(v) * v;
  EXPECT_GT(of_sum / square, 0.4);  // 1 if draws are independent, kDraws if they are the same
  EXPECT_LT(of_sum / square, 2);
}

TEST_P(GradientOf, WhatItIsGivenIsChecked) {
  const auto refused = [&](std::span<const Token> given, std::span<const Token> behind,
                           size_t prompt = 0) {
    GradientOptions options;
    options.next = behind;
    options.prompt = prompt;
    const auto take = [](Kind, int, MatrixView<const float>) { return Result<>(); };
    const auto outcome = predicted_gradients(model, given, options, take);
    return !outcome.ok() && outcome.error().kind == ErrorKind::usage;
  };
  EXPECT_TRUE(refused({}, {}));
  EXPECT_TRUE(refused(letters(513), {}));  // beyond the model's context
  EXPECT_TRUE(refused(tokens, letters(kTokens - 1)));
  EXPECT_TRUE(refused(tokens, letters(kTokens), 4));
  EXPECT_TRUE(refused(tokens, {}, kTokens));
  next[3] = model.shape().vocabulary;
  EXPECT_TRUE(refused(tokens, next));
  next[3] = -1;
  EXPECT_TRUE(refused(tokens, next));
}

TEST_P(GradientOf, AnErrorOfTheCallerComesBack) {
  const auto take = [](Kind, int, MatrixView<const float>) {
    return Result<>(Error{ErrorKind::io, "enough"});
  };
  EXPECT_EQ(predicted_gradients(model, tokens, {}, take).error().message, "enough");
}

INSTANTIATE_TEST_SUITE_P(Families, GradientOf,
                         ::testing::Values("llama", "llama+yarn", "qwen2", "qwen3", "gpt2",
                                           "gptneox", "gemma3", "hunyuan-dense", "qwen3moe",
                                           "gpt-oss", "glm4moe", "phi3", "mistral3+temperature",
                                           "olmoe", "gemma4", "qwen2moe", "arcee", "mpt", "qwen3vl",
                                           "minicpm3", "deepseek2", "deepseek2+experts", "apertus",
                                           "qwen3next", "qwen35", "granitehybrid", "lfm2",
                                           "nemotron_h", "jamba", "falcon-h1"),
                         [](const auto& of) { return family_name(of.param); });

}  // namespace
}  // namespace kvsplice::host
