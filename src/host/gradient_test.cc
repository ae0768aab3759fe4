// Gradients against differences: stored cells are moved while llama.cpp evaluates.
#include "host/gradient.h"

#include <fmt/format.h>
#include <gmock/gmock.h>

#include <cmath>
#include <map>

#include "core/half.h"
#include "core/random.h"
#include "host/batch.h"
#include "host/model_impl.h"
#include "host/tensor_values.h"
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

struct Cell {
  Kind kind;
  int layer;
  size_t token, col;
};

using Gradients = std::map<std::pair<Kind, int>, Matrix<float>>;

class GradientOf : public ::testing::TestWithParam<const char*> {
 protected:
  static Model load(const TempDir& dir, const std::string& name) {
    TinyModel(family(name)).save(dir.file("tiny.gguf"));
    return must(Model::load(dir.file("tiny.gguf")));
  }

  Result<Gradients> gradients(GradientOptions options) const {
    Gradients all;
    options.threads = 1;
    KVS_TRY(predicted_gradients(model, tokens, options,
                                [&](Kind kind, int layer, MatrixView<const float> g) {
                                  EXPECT_TRUE(all.emplace(std::pair(kind, layer), copy(g)).second);
                                  return Result<>();
                                }));
    return all;
  }

  struct Moved {
    double by, sum;                // of the logarithms of the probabilities of `next`
    std::vector<int64_t> experts;  // that tokens choose
  };

  // With the cell moved by about `by`.
  Moved evaluate(const Cell& cell, float by) const {
    const LayerShape& l = model.shape().layers[size_t(cell.layer)];
    Moved moved{};
    NodeHook hook;
    auto params = context_params({}, hook, int(kTokens), int(kTokens));
    params.n_threads = params.n_threads_batch = 1;
    const LlamaContext context(llama_init_from_model(model.impl().model.get(), params));
    hook.on_node = [&](ggml_tensor* node, bool ask) {
      if (node->op == GGML_OP_MUL_MAT_ID) {
        const auto chosen = ask ? std::vector<int64_t>() : must(rows_of(node->src[2]));
        moved.experts.insert(moved.experts.end(), chosen.begin(), chosen.end());
        return true;
      }
      const auto layer = cell.kind == Kind::key ? key_cache_layer(node) : value_cache_layer(node);
      const bool stored = node->op == GGML_OP_SET_ROWS && layer == l.layer;
      if (ask || !stored) return stored || !ask;
      const size_t at = (cell.token * size_t(l.width(cell.kind)) + cell.col) * sizeof(uint16_t);
      uint16_t half = 0;
      ggml_backend_tensor_get(root_of(node), &half, at, sizeof half);
      const float before = from_half(half);
      half = to_half(before + by);
      ggml_backend_tensor_set(root_of(node), &half, at, sizeof half);
      moved.by = double(from_half(half)) - before;
      return true;
    };
    Batch batch(kTokens);
    batch.fill(tokens, 0, kTokens);
    EXPECT_EQ(llama_decode(context.get(), batch.get()), 0);
    const auto vocabulary = size_t(model.shape().vocabulary);
    const float* logits = llama_get_logits(context.get());
    for (size_t t = 0; t < kTokens; ++t, logits += vocabulary) {
      double all = 0;
      for (size_t i = 0; i < vocabulary; ++i) all += std::exp(double(logits[i]));
      moved.sum += logits[next[t]] - std::log(all);
    }
    return moved;
  }

  TempDir dir;
  Model model = load(dir, GetParam());
  std::vector<Token> tokens = letters(kTokens), next = letters(kTokens, 8);
};

TEST_P(GradientOf, StoredRowsIsWhatDifferencesSay) {
  GradientOptions options;
  options.next = next;
  Gradients all = must(gradients(options));
  const auto& layers = model.shape().layers;
  const bool with_values = !model.shape().lacks_values();
  ASSERT_EQ(all.size(), (with_values ? 2 : 1) * layers.size());
  std::vector<int32_t> positions(kTokens);
  for (size_t t = 0; t < kTokens; ++t) positions[t] = int32_t(t);
  Random random(3);
  double square = 0, product = 0, expected_square = 0;
  int changed = 0;  // choices of experts, which have no derivative
  for (int i = 0; i < 48 + changed; ++i) {
    const int layer = int(random.below(layers.size()));
    const LayerShape& l = layers[size_t(layer)];
    const Kind kind = i % 2 == 0 || !with_values ? Kind::key : Kind::value;
    const Cell cell{kind, layer, random.below(kTokens / 2), random.below(size_t(l.width(kind)))};
    Matrix<float> g = all.at({kind, layer});
    if (kind == Kind::key) {  // of the stored keys: the transpose of what undid it
      Rope rope = l.rope;
      rope.magnitude = 1 / rope.magnitude;
      rope.apply(g, l.key_dim, positions);
    }
    const Moved up = evaluate(cell, 0.3f), down = evaluate(cell, -0.3f);
    if (up.experts != down.experts) {
      ASSERT_LT(++changed, 24);
      continue;
    }
    const double difference = (up.sum - down.sum) / (up.by - down.by);
    const double gradient = g(cell.token, cell.col);
    square += gradient * gradient;
    product += gradient * difference;
    expected_square += difference * difference;
  }
  const double cosine = product / std::sqrt(square * expected_square);
  const double size = std::sqrt(square / expected_square);
  RecordProperty("cosine", fmt::format("{:.4f}", cosine));
  RecordProperty("size", fmt::format("{:.4f}", size));
  RecordProperty("changed", changed);
  EXPECT_GT(cosine, 0.997);
  EXPECT_NEAR(size, 1, 0.03);
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
  const auto refused = [&](std::span<const Token> given, std::span<const Token> behind) {
    GradientOptions options;
    options.next = behind;
    const auto take = [](Kind, int, MatrixView<const float>) { return Result<>(); };
    const auto outcome = predicted_gradients(model, given, options, take);
    return !outcome.ok() && outcome.error().kind == ErrorKind::usage;
  };
  EXPECT_TRUE(refused({}, {}));
  EXPECT_TRUE(refused(letters(513), {}));  // beyond the model's context
  EXPECT_TRUE(refused(tokens, letters(kTokens - 1)));
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

// No earlier: what leads to no stored row needs no derivative, such as the choice of experts.
TEST(Gradient, ThatArrivesAtAnUnknownNodeIsAnError) {
  const TempDir dir;
  TinyModel(family("apertus")).save(dir.file("tiny.gguf"));
  const Model model = must(Model::load(dir.file("tiny.gguf")));
  GradientOptions options;
  options.threads = 1;
  const auto take = [](Kind, int, MatrixView<const float>) { return Result<>(); };
  const auto outcome = predicted_gradients(model, letters(kTokens), options, take);
  ASSERT_FALSE(outcome.ok());
  EXPECT_EQ(outcome.error().kind, ErrorKind::unsupported);
  EXPECT_THAT(outcome.error().message, ::testing::HasSubstr("'ffn_xielu-2' (XIELU)"));
}

INSTANTIATE_TEST_SUITE_P(Families, GradientOf,
                         ::testing::Values("llama", "llama+yarn", "qwen2", "qwen3", "gpt2",
                                           "gptneox", "gemma3", "hunyuan-dense", "qwen3moe",
                                           "gpt-oss", "glm4moe", "phi3", "mistral3+temperature",
                                           "olmoe", "gemma4", "qwen2moe", "arcee", "mpt", "qwen3vl",
                                           "minicpm3", "deepseek2", "deepseek2+experts"),
                         [](const auto& of) { return family_name(of.param); });

}  // namespace
}  // namespace kvsplice::host
