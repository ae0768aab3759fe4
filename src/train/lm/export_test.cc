// Exported models against llama.cpp, which is told nothing but the file.
#include "train/lm/export.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "host/model.h"
#include "host/tiny_model_test.h"

namespace kvsplice::train::lm {
namespace {

using kvsplice::testing::must;
using kvsplice::testing::TempDir;
using ::testing::HasSubstr;

// A vocabulary of bytes and thirteen merges.
std::string model_with_merges(const TempDir& dir) {
  kvsplice::testing::TinyOptions options;
  options.pre = "gpt-2";
  const auto path = dir.file("merges.gguf");
  kvsplice::testing::TinyModel(options).save(path);
  return path;
}

struct Case {
  const char* name;
  CacheForm form;
  size_t heads = 2, kv_heads = 2, head_dim = 32;
};

const Case kCases[] = {
    {"full", {}},
    {"grouped", {}, 4, 1, 32},
    {"one_head", {24}, 1, 1, 32},
    {"latent", {24}},
    {"affine", {24, 48, false, Warp::affine}},
    {"rate", {0, 0, false, Warp::none, 0.3, 1e-4}},
};

class LmExport : public ::testing::TestWithParam<Case> {
 protected:
  LmExport() {
    vocabulary = must(first_tokens(model_with_merges(dir), 270));
    const Case& c = GetParam();
    shape = {vocabulary.size(), 64, 2, 96, c.heads, c.kv_heads, c.head_dim, 48};
  }
  TempDir dir;
  Vocabulary vocabulary;
  Shape shape;
};

TEST_P(LmExport, LogitsAreLlamaCppsAndSoIsPerplexity) {
  const Model<float> model(shape, GetParam().form);
  auto parameters = model.start(1);
  Random random(2);
  for (float& p : parameters) p += float(0.05 * random.normal());
  const auto path = dir.file("exported.gguf");
  must(export_model(model, parameters, vocabulary, path));
  const auto loaded = must(host::Model::load(path));
  EXPECT_EQ(loaded.shape().layers.front().kv_heads, int(shape.kv_heads));

  Matrix<Token> tokens(1, shape.length + 1);
  for (Token& t : tokens.flat()) t = Token(3 + random.below(267));
  host::ContextOptions options;
  options.n_ctx = int(shape.length);
  options.cache = host::CacheType::f32;
  options.flash_attention = false;  // which rounds queries to f16
  auto context = must(host::Context::create(loaded, options));
  must(context.decode(tokens.row(0).first(shape.length), shape.length));
  const auto own = model.logits(parameters, tokens.view().col_range(0, shape.length));
  const auto losses = must(model.losses(parameters, tokens));
  double most = 0, size = 0, ours = 0, theirs = 0;
  for (size_t i = 0; i < shape.length; ++i) {
    const auto row = context.logits(i);
    double sum = 0;
    for (size_t t = 0; t < shape.vocabulary; ++t) {
      most = std::max(most, std::abs(double(row[t]) - own(i, t)));
      size = std::max(size, std::abs(double(row[t])));
      sum += std::exp(double(row[t]));
    }
    theirs += std::log(sum) - row[size_t(tokens(0, i + 1))];
    ours += losses[i];
  }
  EXPECT_GT(size, 1);
  EXPECT_LT(most, 2e-3);
  EXPECT_NEAR(std::exp(ours / double(shape.length)), std::exp(theirs / double(shape.length)),
              5e-5 * std::exp(theirs / double(shape.length)));
}

INSTANTIATE_TEST_SUITE_P(Forms, LmExport, ::testing::ValuesIn(kCases),
                         [](const auto& c) { return c.param.name; });

// What a byte-pair vocabulary makes of one word: the first of the merges that is found, everywhere
// and from the left, until none is.
std::vector<std::string> pairs_of(const std::string& word, const std::vector<std::string>& merges) {
  std::vector<std::string> parts;
  for (const char c : word) parts.push_back(c == ' ' ? "\u0120" : std::string(1, c));
  for (size_t m = 0; m < merges.size();) {
    bool found = false;
    for (size_t i = 0; i + 1 < parts.size(); ++i) {
      if (parts[i] + " " + parts[i + 1] != merges[m]) continue;
      parts[i] += parts[i + 1];
      parts.erase(parts.begin() + ptrdiff_t(i) + 1);
      found = true;
    }
    m = found ? 0 : m + 1;
  }
  return parts;
}

TEST(LmVocabulary, FirstMergesAreAVocabularyOfTheirOwn) {
  TempDir dir;
  const auto source = model_with_merges(dir);
  for (const size_t size : {259, 262, 266, 272}) {
    const auto vocabulary = must(first_tokens(source, size));
    ASSERT_EQ(vocabulary.size(), size);
    const Model<float> model({size, 32, 1, 32, 1, 1, 32, 16}, {});
    const auto path = dir.file("cut.gguf");
    must(export_model(model, model.start(1), vocabulary, path));
    const auto loaded = must(host::Model::load(path));
    std::vector<Token> expected;
    std::string text;
    for (const std::string word : {"the", " thing", " in", " the", " other", " ring", " tint"}) {
      text += word;
      for (const auto& part : pairs_of(word, vocabulary.merges)) {
        const auto at = std::find(vocabulary.tokens.begin(), vocabulary.tokens.end(), part);
        expected.push_back(Token(at - vocabulary.tokens.begin()));
      }
    }
    EXPECT_EQ(must(loaded.tokenize(text)), expected) << size;
  }
}

TEST(LmVocabulary, OthersAreRefused) {
  TempDir dir;
  const auto refused = [](const std::string& path, size_t size, const char* says) {
    const auto vocabulary = first_tokens(path, size);
    ASSERT_FALSE(vocabulary.ok()) << size;
    EXPECT_THAT(vocabulary.error().message, HasSubstr(says));
  };
  refused(model_with_merges(dir), 258, "259 ... 272");
  refused(model_with_merges(dir), 273, "259 ... 272");
  const auto plain = dir.file("plain.gguf");
  kvsplice::testing::TinyModel({}).save(plain);
  refused(plain, 100, "byte pairs");
}

TEST(LmParameters, ComeBackAndBelongToTheirModel) {
  TempDir dir;
  const Shape shape{20, 32, 2, 32, 1, 1, 32, 16};
  const Model<float> model(shape, {8, 16, true, Warp::spline}), other(shape, {8});
  const auto parameters = model.start(1);
  const auto path = dir.file("weights.gguf");
  must(save_parameters(model.layout(), parameters, path));
  EXPECT_EQ(must(load_parameters(model.layout(), path)), parameters);
  const auto refused = load_parameters(other.layout(), path);
  ASSERT_FALSE(refused.ok());
  EXPECT_THAT(refused.error().message, HasSubstr("blk.0.cache.down"));
  EXPECT_FALSE(export_model(model, parameters, {}, dir.file("x.gguf")).ok());
}

}  // namespace
}  // namespace kvsplice::train::lm
