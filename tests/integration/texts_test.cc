// The tokens of long texts, which are read in pieces, are those that llama.cpp gives for the whole.
#include "host/texts.h"

#include <gtest/gtest.h>
#include <llama.h>

#include <filesystem>
#include <memory>

#include "core/file.h"
#include "host/gemma_test.h"

namespace kvsplice::host {
namespace {

std::vector<Token> at_once(const std::string& model, const std::string& text) {
  llama_model_params params = llama_model_default_params();
  params.vocab_only = true;
  const std::unique_ptr<llama_model, decltype(&llama_model_free)> loaded(
      llama_model_load_from_file(model.c_str(), params), llama_model_free);
  std::vector<Token> tokens(text.size() + 16);
  const int n = llama_tokenize(llama_model_get_vocab(loaded.get()), text.data(), int(text.size()),
                               tokens.data(), int(tokens.size()), true, false);
  tokens.resize(size_t(n));
  return tokens;
}

class RealVocabulary : public ::testing::TestWithParam<const char*> {};

TEST_P(RealVocabulary, PiecesHaveTheTokensOfTheWhole) {
  const std::string path = GetParam();
  if (path == KVSPLICE_TEST_GEMMA && !std::filesystem::exists(path)) {
    GTEST_SKIP() << kvsplice::testing::no_gemma(path);
  }
  const auto model = Model::load(path);
  ASSERT_TRUE(model.ok()) << model.error().message;
  std::string text;
  for (const auto& entry :
       std::filesystem::directory_iterator(std::string(KVSPLICE_SOURCE_DIR) + "/samples")) {
    if (entry.path().extension() == ".txt") text += *read_text(entry.path());
  }
  while (text.size() < 300000) text += text;
  const auto all = at_once(path, text);
  EXPECT_EQ(*model->tokenize(text), all);
  const auto some = *tokenize(*model, text, {.most = 1000});
  ASSERT_EQ(some.size(), 1000u);
  EXPECT_TRUE(std::equal(some.begin(), some.end(), all.begin()));
}

INSTANTIATE_TEST_SUITE_P(Models, RealVocabulary,
                         ::testing::Values(KVSPLICE_TEST_MODEL, KVSPLICE_TEST_GEMMA));

}  // namespace
}  // namespace kvsplice::host
