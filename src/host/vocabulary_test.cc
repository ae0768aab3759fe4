// Texts of any length and kind become tokens, the same in pieces as in one.
#include <gmock/gmock.h>
#include <llama.h>

#include "host/model.h"
#include "host/model_impl.h"
#include "host/texts.h"
#include "host/tiny_model_test.h"

namespace kvsplice::host {
namespace {

using ::kvsplice::testing::must;
using ::kvsplice::testing::TempDir;
using ::kvsplice::testing::TinyModel;
using ::kvsplice::testing::TinyOptions;
using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::Not;

// By name: how texts are split; empty: SentencePiece.
class Vocabulary : public ::testing::TestWithParam<std::string> {
 protected:
  Model load(bool adds_end = false) {
    TinyOptions o;
    o.pre = GetParam();
    o.adds_end = adds_end;
    TinyModel(o).save(dir.file("m.gguf"));
    return must(Model::load(dir.file("m.gguf")));
  }
  TempDir dir;
};

// llama.cpp's own tokens of a text, all at once.
std::vector<Token> at_once(const Model& model, const std::string& text) {
  std::vector<Token> tokens(text.size() + 16);
  const int n = llama_tokenize(model.impl().vocabulary, text.data(), int(text.size()),
                               tokens.data(), int(tokens.size()), true, false);
  tokens.resize(size_t(n));
  return tokens;
}

// Words, numbers, blank lines, runs of blanks, signs and letters of other scripts.
std::string ordinary_text(size_t bytes) {
  const std::vector<std::string> words = {
      "the",    "thing", "in",   "1919",  "\xc3\xa9t\xc3\xa9",
      "a  b",   "x\n\n", "it's", "...\n", "\xe4\xb8\xad\xe6\x96\x87\xe3\x80\x82",
      "  then", "AAAAA", "(in)", "9"};
  Random random(3);
  std::string text;
  while (text.size() < bytes) {
    text += words[random.below(words.size())];
    text += random.below(9) == 0 ? '\n' : ' ';
  }
  return text;
}

TEST_P(Vocabulary, LongTextsHaveTheTokensOfOneCall) {
  const Model model = load();
  const std::string text = ordinary_text(100000);
  const auto tokens = must(model.tokenize(text));
  EXPECT_EQ(tokens, at_once(model, text));
  EXPECT_GE(model.impl().cuts.longest_token, 4u);
  const size_t first = model.impl().cuts.next(text, 0);
  EXPECT_GE(first, 1u << 16);
  EXPECT_LT(first, text.size()) << "long texts are cut";
}

TEST_P(Vocabulary, ABeginningHasTheFirstTokens) {
  const Model model = load();
  const std::string text = ordinary_text(100000);
  const auto all = at_once(model, text);
  for (size_t n : {size_t(1), size_t(16), size_t(5000), all.size() - 1, all.size() + 5}) {
    const auto some = must(tokenize(model, text, {.most = n}));
    ASSERT_EQ(some.size(), std::min(n, all.size()));
    EXPECT_TRUE(std::equal(some.begin(), some.end(), all.begin())) << n;
  }
}

// Some tokenizers call themselves for each letter of these.
TEST_P(Vocabulary, LongRunsAreNoCrash) {
  const Model model = load();
  for (const std::string run : {"A", "a", ".", " ", "\xc3\xa9"}) {
    std::string text;
    while (text.size() < 40000) text += run;
    EXPECT_EQ(must(model.tokenize("x " + text + " y")).back(), must(model.tokenize("x y")).back())
        << run;
    EXPECT_EQ(must(tokenize(model, text, {.most = 16})).size(), 16u) << run;
  }
}

TEST_P(Vocabulary, NoTextEndsInAnEndToken) {
  const Model plain = load(), ending = load(true);
  ASSERT_EQ(at_once(ending, "the sea").back(), 2);
  EXPECT_EQ(must(ending.tokenize("the sea")), must(plain.tokenize("the sea")));
  EXPECT_EQ(must(ending.tokenize("the sea")).front(), ending.bos());
  EXPECT_THAT(must(tokenize(ending, "", {.begins = false})), ElementsAre());
  const auto more = must(tokenize(plain, "the sea", {.begins = false}));
  const auto whole = must(plain.tokenize("the sea"));
  EXPECT_EQ(more, std::vector<Token>(whole.begin() + 1, whole.end()));
}

TEST_P(Vocabulary, MarkersAreReadIfWanted) {
  const Model model = load();
  const std::string marker = model.piece(2);
  const auto text = must(model.tokenize("the" + marker + "sea"));
  EXPECT_THAT(text, Not(Contains(2)));
  const auto marked = must(tokenize(model, "the" + marker + "sea", {.markers = true}));
  EXPECT_THAT(marked, Contains(2));
  EXPECT_LT(marked.size(), text.size());
}

INSTANTIATE_TEST_SUITE_P(All, Vocabulary,
                         ::testing::Values("", "smollm", "gpt-4o", "tekken", "llama-bpe",
                                           "deepseek-llm"),
                         [](const auto& one) {
                           return one.param.empty() ? std::string("SentencePiece")
                                                    : kvsplice::testing::family_name(one.param);
                         });

TEST(TextCuts, NoCutWhereATokenReachesAcross) {
  const Tokenizer letters = [](const std::string& all) {
    return std::vector<Token>(all.begin(), all.end());
  };
  const std::string text = std::string(70000, 'a') + " b" + "\nc" + std::string(70000, 'd');
  EXPECT_EQ(learn_cuts({"a", "xy"}, letters).next(text, 0), 70000u);
  EXPECT_EQ(learn_cuts({"a", "of the"}, letters).next(text, 0), 70002u);
  EXPECT_EQ(learn_cuts({"a", "of the", "x\n"}, letters).next(text, 0), text.size());
  const Tokenizer counts = [](const std::string& all) {
    return std::vector<Token>{Token(all.size())};
  };
  EXPECT_EQ(learn_cuts({"a"}, counts).next(text, 0), text.size());
}

TEST(TextCuts, RunsAreCutOnlyForTokenizersThatRecurse) {
  TextCuts cuts;
  const std::string text(3 * kLongestRun, 'a');
  EXPECT_EQ(cuts.next(text, 0), text.size());
  cuts.recurses = true;
  EXPECT_EQ(cuts.next(text, 0), kLongestRun);
  const std::string accents = "\xc3" + std::string(2 * kLongestRun, '\x80');
  EXPECT_GT(cuts.next(accents, 0), kLongestRun - 4) << "bytes that are no text end, too";
  EXPECT_EQ(whole_characters("a\xc3\xa9", 2), "a");
}

}  // namespace
}  // namespace kvsplice::host
