// Every verb on generated models of families that differ in what a cache holds: keys alone, heads
// of which a part is rotated, cells with places.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "host/tiny_model_test.h"
#include "program.h"

namespace kvsplice::cli {
namespace {

using ::testing::HasSubstr;

class FamilyOf : public ::testing::TestWithParam<const char*> {
 protected:
  void SetUp() override {
    kvsplice::testing::TinyOptions options = kvsplice::testing::family(GetParam());
    if (options.latent) options.plain = options.turned = 32;  // with which rows of q8_0 are full
    kvsplice::testing::TinyModel(options).save(model_);
  }

  Folder tmp_;
  const std::string model_ = tmp_ / "tiny.gguf", m_ = " -m " + model_ + " ";
};

TEST_P(FamilyOf, FromTextToCodecToQuality) {
  EXPECT_THAT(must("inspect " + model_), HasSubstr("KVSplice handles it"));
  must("extract" + m_ + "-f " + sample("fiction") + " -n 96 -o " + tmp_ / "dump.gguf");
  must("analyse " + tmp_ / "dump.gguf" + " -o " + tmp_ / "analysis");
  const std::string codec = tmp_ / "codec.gguf";
  const std::string told = must("calibrate" + m_ + "-f " + sample("fiction") +
                                " --tokens 768 --sequence 96 -o " + codec);
  EXPECT_EQ(told.find("without '"), std::string::npos) << told;
  must("evaluate " + tmp_ / "dump.gguf" + m_ + codec + " -o " + tmp_ / "evaluation");
  EXPECT_THAT(
      must("quality" + m_ + "-f " + sample("news") + " --ctx 64 --chunks 1 --cache q8_0 --cache " +
           codec + " -o " + tmp_ / "quality"),
      HasSubstr("codec.gguf"));
  must("pack" + m_ + "-f " + sample("news") + " -n 80 --codec " + codec + " -o " +
       tmp_ / "coded.kvz");
  must("unpack " + tmp_ / "coded.kvz" + m_ + "--codec " + codec + " -o " + tmp_ / "coded.state");
  EXPECT_THAT(must("inspect --check " + tmp_ / "coded.kvz"), HasSubstr("every record is sound"));
  must("inspect " + tmp_ / "coded.state");
}

TEST_P(FamilyOf, StatesGoInAndComeOutToTheBit) {
  const std::string s = tmp_ / "a.kvz";
  must("pack" + m_ + "-f " + sample("news") + " -n 60 --lossless -o " + s);
  for (const std::string form : {"sequence", "session"}) {
    must("unpack " + s + m_ + "--form " + form + " -o " + tmp_ / "a.state");
    must("pack " + tmp_ / "a.state" + m_ + "--lossless -o " + tmp_ / "b.kvz");
    must("unpack " + tmp_ / "b.kvz" + m_ + "--form " + form + " -o " + tmp_ / "b.state");
    EXPECT_EQ(slurp(tmp_ / "a.state"), slurp(tmp_ / "b.state")) << form;
  }
}

TEST_P(FamilyOf, AConversationGoesOnWhereItStopped) {
  spill(tmp_ / "prompt.txt", slurp(sample("news")).substr(0, 60));
  const std::string how = m_ + "--temp 0 --quiet --ignore-end --threads 1 ", s = tmp_ / "s.kvz";
  const std::string whole = must("run -f " + tmp_ / "prompt.txt" + " -n 24" + how);
  std::string parts = must("run -f " + tmp_ / "prompt.txt" + " -n 8 --lossless --save " + s + how);
  parts.pop_back();  // the newline
  parts += must("run -n 16 --lossless --load " + s + " --save " + s + how);
  EXPECT_EQ(parts, whole);
}

INSTANTIATE_TEST_SUITE_P(All, FamilyOf,
                         ::testing::Values("deepseek2+experts", "minicpm3", "qwen3vl",
                                           "glm4+sections"),
                         [](const auto& of) { return kvsplice::testing::family_name(of.param); });

}  // namespace
}  // namespace kvsplice::cli
