// Every verb on hybrid models: generated ones, since small real ones are not at hand.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "host/tiny_model_test.h"
#include "program.h"

namespace kvsplice::cli {
namespace {

using ::testing::HasSubstr;

class Hybrids : public ::testing::TestWithParam<const char*> {
 protected:
  void SetUp() override {
    kvsplice::testing::TinyModel(kvsplice::testing::family(GetParam())).save(tmp_ / "m.gguf");
  }

  // How many tokens the states of a session have seen.
  static std::vector<int> states_in(const std::string& session) {
    std::istringstream lines(must("inspect " + session));
    std::vector<int> positions;
    for (std::string line; std::getline(lines, line);) {
      if (line.starts_with("state ")) positions.push_back(std::stoi(line.substr(6)));
    }
    return positions;
  }

  Folder tmp_;
  const std::string m_ = " -m " + tmp_ / "m.gguf" + " ";
  const std::string how_ = m_ + "--temp 0 --quiet --ignore-end --threads 1 ";
};

TEST_P(Hybrids, FromTextToCodecToQuality) {
  EXPECT_THAT(must("inspect " + tmp_ / "m.gguf"), HasSubstr("recurrent layers, which carry"));
  must("extract" + m_ + "-f " + sample("fiction") + " -n 96 -o " + tmp_ / "dump.gguf");
  must("analyse " + tmp_ / "dump.gguf" + " -o " + tmp_ / "analysis");
  const std::string codec = tmp_ / "codec.gguf";
  const bool usual = std::string(GetParam()) == "qwen3next" || std::string(GetParam()) == "jamba";
  const std::string fitted = must(
      "calibrate" + m_ + "-f " + sample("fiction") + " --tokens 384 --sequence 96 -o " + codec +
      (usual ? "" : " --codec 'layers(history=1,rank=8) | klt | step(delta=0.3) | range'"));
  EXPECT_EQ(fitted.find("fisher") != fitted.npos, usual) << fitted;
  EXPECT_EQ(fitted.find("without 'fisher'"), fitted.npos) << fitted;
  must("evaluate " + tmp_ / "dump.gguf" + m_ + codec + " -o " + tmp_ / "evaluation");
  const std::string table =
      must("quality" + m_ + "-f " + sample("news") + " --ctx 64 --chunks 1 --cache q8_0 --cache " +
           codec + " -o " + tmp_ / "quality");
  EXPECT_THAT(table, HasSubstr("state_bytes"));
  must("pack" + m_ + "-f " + sample("news") + " -n 60 --codec " + codec + " -o " +
       tmp_ / "coded.kvz");
  must("unpack " + tmp_ / "coded.kvz" + m_ + "--codec " + codec + " -o " + tmp_ / "coded.state");
  // A codec that reads no embeddings does without the model: it knows what states that has.
  must("fit " + tmp_ / "dump.gguf" + " --codec 'klt | step | range' -o " + tmp_ / "alone.gguf");
  must("pack " + tmp_ / "coded.state" + " --codec " + tmp_ / "alone.gguf" + " -o " +
       tmp_ / "alone.kvz");
  must("unpack " + tmp_ / "alone.kvz" + " --codec " + tmp_ / "alone.gguf" + " -o " +
       tmp_ / "alone.state");
  EXPECT_EQ(slurp(tmp_ / "alone.state").size(), slurp(tmp_ / "coded.state").size());
  EXPECT_THAT(must("inspect --check " + tmp_ / "coded.kvz"), HasSubstr("every record is sound"));
}

TEST_P(Hybrids, StatesGoInAndComeOutToTheBit) {
  const std::string s = tmp_ / "a.kvz";
  EXPECT_THAT(
      must("pack" + m_ + "-f " + sample("news") + " -n 60 --checkpoint 16 --lossless -o " + s),
      HasSubstr("are 4 recurrent states of"));
  must("unpack " + s + m_ + " -o " + tmp_ / "a.state");
  EXPECT_THAT(must("inspect " + tmp_ / "a.state"), HasSubstr("behind token 60"));
  must("pack " + tmp_ / "a.state" + m_ + "--lossless -o " + tmp_ / "b.kvz");
  must("unpack " + tmp_ / "b.kvz" + m_ + " -o " + tmp_ / "b.state");
  EXPECT_EQ(slurp(tmp_ / "a.state"), slurp(tmp_ / "b.state"));
  refused("pack " + tmp_ / "a.state" + m_ + "--lossless -n 16 -o " + tmp_ / "c.kvz", 1,
          "not behind token 16; stored: behind token 60");
}

TEST_P(Hybrids, PrefixesEndWhereStatesAre) {
  if (std::string(GetParam()) == "lfm2+window") return;  // rows that slid away are gone
  const std::string s = tmp_ / "a.kvz";
  must("pack" + m_ + "-f " + sample("news") + " -n 60 --checkpoint 16 --lossless -o " + s);
  must("unpack " + s + m_ + "-n 32 -o " + tmp_ / "prefix.state");
  must("pack" + m_ + "-f " + sample("news") + " -n 32 --checkpoint 16 --lossless -o " +
       tmp_ / "short.kvz");
  must("unpack " + tmp_ / "short.kvz" + m_ + "-o " + tmp_ / "short.state");
  EXPECT_EQ(slurp(tmp_ / "prefix.state"), slurp(tmp_ / "short.state"));
  refused("unpack " + s + m_ + "-n 31 -o " + tmp_ / "c.state", 1,
          "not behind token 31; stored: behind token 16, token 32, token 48, token 60");
  // Packed anew the prefix keeps its states.
  must("pack " + s + m_ + "--lossless -n 32 -o " + tmp_ / "again.kvz");
  must("unpack " + tmp_ / "again.kvz" + m_ + "-n 16 -o " + tmp_ / "c.state");
}

TEST_P(Hybrids, AConversationGoesOnWhereItStopped) {
  spill(tmp_ / "prompt.txt", slurp(sample("news")).substr(0, 40));
  const std::string s = tmp_ / "s.kvz";
  const std::string whole = must("run -f " + tmp_ / "prompt.txt" + " -n 24" + how_);
  std::string parts = must("run -f " + tmp_ / "prompt.txt" + " -n 8 --lossless --save " + s + how_);
  for (int i = 0; i < 2; ++i) {
    parts.pop_back();  // the newline
    parts += must("run -n 8 --lossless --checkpoint 4 --load " + s + " --save " + s + how_);
  }
  EXPECT_EQ(parts, whole);
  // Each four tokens since that was wished, and at the end; not where a run before has ended.
  std::vector<int> states = states_in(s);
  ASSERT_GE(states.size(), 4u);
  states.pop_back();
  for (const int position : states) EXPECT_EQ(position % 4, 0);
  EXPECT_THAT(must("inspect --check " + s), HasSubstr("every record is sound"));
}

TEST_P(Hybrids, StatesAreHalvedIfWanted) {
  const std::string text = m_ + "-f " + sample("news") + " -n 20 --lossless ";
  must("pack" + text + "-o " + tmp_ / "exact.kvz");
  must("pack" + text + "--state f16 -o " + tmp_ / "half.kvz");
  const size_t exact = slurp(tmp_ / "exact.kvz").size(), half = slurp(tmp_ / "half.kvz").size();
  must("unpack " + tmp_ / "exact.kvz" + m_ + "-o " + tmp_ / "exact.state");
  must("unpack " + tmp_ / "half.kvz" + m_ + "-o " + tmp_ / "half.state");
  EXPECT_EQ(slurp(tmp_ / "half.state").size(), slurp(tmp_ / "exact.state").size());
  EXPECT_LT(half, exact);
  must("run -n 4 -p a --load " + tmp_ / "half.kvz" + " --state f16 --lossless --save " +
       tmp_ / "more.kvz" + how_);
  refused("pack" + text + "--state q4 -o " + tmp_ / "c.kvz", 2, "legal: exact, f16, q8");
}

TEST_P(Hybrids, WhatIsPackedAnewKeepsItsCheckpoints) {
  if (std::string(GetParam()) == "lfm2+window") return;  // rows that slid away are gone
  const std::string exact = tmp_ / "exact.kvz", coded = tmp_ / "coded.kvz";
  const std::string codec = " --codec " + tmp_ / "codec.gguf" + " ";
  must("extract" + m_ + "-f " + sample("fiction") + " -n 96 --no-queries -o " + tmp_ / "dump.gguf");
  must("fit " + tmp_ / "dump.gguf" + " --codec 'klt | step | range' -o " + tmp_ / "codec.gguf");
  must("pack" + m_ + "-f " + sample("news") + " -n 60 --checkpoint 16 --lossless -o " + exact);
  must("run -n 9 -p a --checkpoint 16 --load " + exact + codec + "--save " + coded + how_);
  const std::vector<int> states = states_in(coded);
  ASSERT_EQ(states.size(), 5u);
  EXPECT_EQ(std::vector<int>(states.begin(), states.end() - 1), (std::vector<int>{16, 32, 48, 64}));
  must("unpack " + coded + m_ + codec + "-n 32 -o " + tmp_ / "prefix.state");
  must("run -n 2 --load " + coded + codec + how_);
}

TEST_P(Hybrids, WhatHasNoTokenLeftNeedsAPrompt) {
  const std::string s = tmp_ / "s.kvz";
  must("pack" + m_ + "-f " + sample("news") + " -n 20 --lossless -o " + s);
  refused("run -n 2 --load " + s + how_, 2, "give a prompt");
  must("run -n 2 -p a --load " + s + how_);
}

INSTANTIATE_TEST_SUITE_P(Models, Hybrids,
                         ::testing::Values("qwen3next", "qwen35", "granitehybrid", "lfm2",
                                           "lfm2+window", "nemotron_h", "jamba", "falcon-h1"),
                         [](const auto& tested) {
                           return kvsplice::testing::family_name(tested.param);
                         });

TEST(HybridOptions, CheckpointsAreForHybrids) {
  const Folder tmp;
  kvsplice::testing::TinyModel({}).save(tmp / "m.gguf");
  refused("pack -m " + tmp / "m.gguf" + " -f " + sample("news") +
              " -n 20 --checkpoint 8 --lossless -o " + tmp / "s.kvz",
          2, "--checkpoint is for models with recurrent layers");
}

}  // namespace
}  // namespace kvsplice::cli
