// Every verb on models with sliding windows: a generated one, and Gemma 3 270M if the set-up has
// been asked for it.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "host/gemma_test.h"
#include "host/tiny_model_test.h"
#include "program.h"

namespace kvsplice::cli {
namespace {

using ::testing::HasSubstr;

struct Case {
  const char* name;
  int tokens;  // more than the window, and a prompt that fits in it
  int prefix;
};

class Sliding : public ::testing::TestWithParam<Case> {
 protected:
  void SetUp() override {
    model_ = KVSPLICE_TEST_GEMMA;
    if (GetParam().name == std::string("tiny")) {
      model_ = tmp_ / "tiny.gguf";
      kvsplice::testing::TinyOptions options;
      options.architecture = "gemma3";
      options.head_dim = 64;
      kvsplice::testing::TinyModel(options).save(model_);
    } else if (!std::filesystem::exists(model_)) {
      GTEST_SKIP() << kvsplice::testing::no_gemma(model_);
    }
    m_ = " -m " + model_ + " ";
    n_ = std::to_string(GetParam().tokens);
  }

  Folder tmp_;
  std::string model_, m_, n_;
};

TEST_P(Sliding, FromTextToCodecToQuality) {
  must("extract" + m_ + "-f " + sample("fiction") + " -n 96 -o " + tmp_ / "dump.gguf");
  must("analyse " + tmp_ / "dump.gguf" + " -o " + tmp_ / "analysis");
  const std::string codec = tmp_ / "codec.gguf";
  must("calibrate" + m_ + "-f " + sample("fiction") +
       " --tokens 384 --sequence 96 --codec 'layers(history=2,rank=8) | klt | step(delta=0.3) | "
       "range' -o " +
       codec);
  must("evaluate " + tmp_ / "dump.gguf" + m_ + codec + " -o " + tmp_ / "evaluation");
  const std::string table =
      must("quality" + m_ + "-f " + sample("news") + " --ctx 64 --chunks 1 --cache q8_0 --cache " +
           codec + " -o " + tmp_ / "quality");
  EXPECT_THAT(table, HasSubstr("codec.gguf"));
  must("pack" + m_ + "-f " + sample("news") + " -n " + n_ + " --codec " + codec + " -o " +
       tmp_ / "coded.kvz");
  must("unpack " + tmp_ / "coded.kvz" + m_ + "--codec " + codec + " -o " + tmp_ / "coded.state");
  EXPECT_THAT(must("inspect --check " + tmp_ / "coded.kvz"), HasSubstr("every record is sound"));
}

TEST_P(Sliding, StatesGoInAndComeOutToTheBit) {
  const std::string s = tmp_ / "a.kvz";
  must("pack" + m_ + "-f " + sample("news") + " -n " + n_ + " --lossless -o " + s);
  for (const std::string form : {"sequence", "session"}) {
    must("unpack " + s + m_ + "--form " + form + " -o " + tmp_ / "a.state");
    must("pack " + tmp_ / "a.state" + m_ + "--lossless -o " + tmp_ / "b.kvz");
    must("unpack " + tmp_ / "b.kvz" + m_ + "--form " + form + " -o " + tmp_ / "b.state");
    EXPECT_EQ(slurp(tmp_ / "a.state"), slurp(tmp_ / "b.state")) << form;
  }
  const Outcome prefix = run("unpack " + s + m_ + "-n 5 -o " + tmp_ / "c.state");
  EXPECT_EQ(prefix.code, 1) << prefix.text;
  EXPECT_THAT(prefix.text, HasSubstr("sliding window"));
}

TEST_P(Sliding, AConversationGoesOnWhereItStopped) {
  std::string prompt = slurp(sample("news")).substr(0, size_t(GetParam().prefix));
  spill(tmp_ / "prompt.txt", prompt);
  const std::string how = m_ + "--temp 0 --quiet --ignore-end --threads 1 ", s = tmp_ / "s.kvz";
  const std::string whole = must("run -f " + tmp_ / "prompt.txt" + " -n 24" + how);
  std::string parts = must("run -f " + tmp_ / "prompt.txt" + " -n 8 --lossless --save " + s + how);
  for (int i = 0; i < 2; ++i) {
    parts.pop_back();  // the newline
    parts += must("run -n 8 --lossless --load " + s + " --save " + s + how);
  }
  EXPECT_EQ(parts, whole);
  EXPECT_THAT(must("inspect --check " + s), HasSubstr("every record is sound"));
}

INSTANTIATE_TEST_SUITE_P(Models, Sliding,
                         ::testing::Values(Case{"tiny", 60, 40}, Case{"gemma", 560, 2900}),
                         [](const auto& tested) { return tested.param.name; });

}  // namespace
}  // namespace kvsplice::cli
