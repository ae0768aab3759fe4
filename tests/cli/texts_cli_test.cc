// Texts as users have them: short, huge, with marks and markers, through pipes, and what becomes of
// a conversation when something goes wrong.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "host/tiny_model_test.h"
#include "program.h"

namespace kvsplice::cli {
namespace {

using ::kvsplice::testing::TinyModel;
using ::kvsplice::testing::TinyOptions;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

class Texts : public ::testing::Test {
 protected:
  Texts() {
    TinyOptions o;
    o.context = 512;
    TinyModel(o).save(tmp / "m.gguf");
    for (char& c : text) c = char('a' + (&c - text.data()) * 7 % 26);
    for (size_t i = 5; i < text.size(); i += 6) text[i] = ' ';
  }

  Folder tmp;
  std::string text = std::string(600, ' ');
  const std::string m = " -m " + tmp / "m.gguf", uniform = " --codec 'hadamard | uniform(bits=4)' ",
                    greedy = " --temp 0 --ignore-end --threads 1 ";
};

TEST_F(Texts, AByteOrderMarkIsNoText) {
  spill(tmp / "bom.txt", "\xef\xbb\xbfonce upon");
  spill(tmp / "plain.txt", "once upon");
  const std::string how = greedy + "--quiet -n 8";
  EXPECT_EQ(must("run" + m + " -f " + tmp / "bom.txt" + how),
            must("run" + m + " -f " + tmp / "plain.txt" + how));
}

TEST_F(Texts, EmptyTextsAreNamed) {
  spill(tmp / "empty.txt", "");
  const std::string f = " -f " + tmp / "empty.txt";
  refused("extract" + m + f + " -o " + tmp / "x", 2, "empty.txt is empty");
  refused("calibrate" + m + f + " -o " + tmp / "x", 2, "empty.txt is empty");
  for (const char* memory : {"4x", "64M@", "@8192", "64M@0"}) {
    refused("calibrate" + m + f + " -o " + tmp / "x" + " --memory " + memory, 2,
            "legal: GB that gradients may take (0.001 ... 1000000), or BYTES@TOKENS");
  }
  refused("quality" + m + f + " --cache q8_0 -o " + tmp / "x", 2, "empty.txt is empty");
  refused("pack" + m + f + " --lossless -o " + tmp / "x", 2, "empty.txt is empty");
  refused("run" + m + f, 2, "there is nothing to continue");
}

TEST_F(Texts, ShortTextsAreJoinedToCalibrate) {
  std::string few, many;
  for (int i = 0; i < 8; ++i) {
    const std::string name = tmp / (std::to_string(i) + ".txt");
    spill(name, text.substr(size_t(i) * 40, 30));
    (i < 2 ? few : many) += " " + name;
  }
  spill(tmp / "long.txt", text);
  const std::string how = uniform + "-n 1024 --sequence 64 -o " + tmp / "c.gguf";
  EXPECT_THAT(must("calibrate" + m + " -f " + tmp / "long.txt" + few + many + how),
              HasSubstr("8 texts with fewer than 64 tokens joined"));
  EXPECT_THAT(must("calibrate" + m + " -f " + tmp / "long.txt " + tmp / "0.txt" + how),
              HasSubstr("0.txt with fewer than 64 tokens left out"));
  EXPECT_THAT(must("calibrate" + m + " -f" + few + many + how), HasSubstr("joined"));
  refused("calibrate" + m + " -f " + tmp / "0.txt" + how, 2, "a sequence needs 64");
}

TEST_F(Texts, ExtractTakesAllOfAShorterText) {
  spill(tmp / "short.txt", text.substr(0, 30));
  spill(tmp / "long.txt", text);
  const std::string out = " -n 64 -o " + tmp / "d.gguf";
  EXPECT_THAT(must("extract" + m + " -f " + tmp / "short.txt " + tmp / "long.txt" + out),
              AllOf(HasSubstr("tokens of 2 texts"), HasSubstr("note: short.txt has 32 tokens")));
  refused("extract" + m + " -f " + tmp / "short.txt " + tmp / "short.txt" + out, 2,
          "has 32 tokens, 64 are wanted");
}

TEST_F(Texts, LogitsThatAreNoNumbersAreAnError) {
  std::string broken = slurp(tmp / "m.gguf");
  const float nan = NAN;
  std::memcpy(&broken[broken.size() - 64], &nan, sizeof nan);
  spill(tmp / "nan.gguf", broken);
  spill(tmp / "t.txt", text);
  const std::string bad = " -m " + tmp / "nan.gguf", says = "logits are not numbers";
  for (const char* temperature : {"0", "0.8"}) {
    refused("run" + bad + " -p abc --quiet -n 4 --temp " + temperature + " --lossless --save " +
                tmp / "s.kvz",
            1, says);
  }
  refused("quality" + bad + " -f " + tmp / "t.txt --ctx 64 --chunks 1 --cache q8_0 -o " + tmp / "q",
          1, says);
  EXPECT_FALSE(std::filesystem::exists(tmp / "s.kvz"));
}

TEST_F(Texts, WithoutALimitTheContextIsFilled) {
  EXPECT_THAT(must("run" + m + " -p abc -n -1 --ctx 40" + greedy), HasSubstr("generated 35 "));
  EXPECT_THAT(must("run" + m + " -p abc -n -1" + greedy), HasSubstr("generated 507 "));
}

// The text is not printed when what it would be saved to cannot be written.
TEST_F(Texts, WhereToSaveIsKnownBeforeTheFirstToken) {
  const std::string p = " -p abc -n 8 --lossless" + greedy;
  refused("run" + m + p + "--save " + tmp / "no/s.kvz", 1, "no/s.kvz");
  must("run" + m + p + "--save " + tmp / "s.kvz");
  const std::string before = slurp(tmp / "s.kvz"), both = " --load " + tmp / "s.kvz --save ";
  const std::string lock = "flock " + tmp / "s.kvz " + KVSPLICE_BINARY;
  const Outcome second = shell(lock + " run" + m + p + both + tmp / "s.kvz");
  EXPECT_EQ(second.code, 1) << second.text;
  EXPECT_THAT(second.text, AllOf(HasSubstr("another program"), Not(HasSubstr("abc"))));
  EXPECT_EQ(slurp(tmp / "s.kvz"), before);
  refused("run" + m + p + both + tmp / "no/s.kvz", 1, "no/s.kvz");
}

TEST_F(Texts, AFullOutputIsAnErrorAndTheSessionIsSaved) {
  const Outcome full =
      shell("{ " + std::string(KVSPLICE_BINARY) + " run" + m + " -p abc -n 8 --lossless --save " +
            tmp / "s.kvz" + greedy + "--quiet > /dev/full; }");
  EXPECT_EQ(full.code, 1) << full.text;
  EXPECT_THAT(full.text, HasSubstr("standard output"));
  EXPECT_THAT(must("inspect --check " + tmp / "s.kvz"), HasSubstr("every record is sound"));
}

TEST_F(Texts, AReaderThatGoesAwayOrATerminalThatClosesEndTheTextAndItIsSaved) {
  const std::string begin = std::string(KVSPLICE_BINARY) + " run" + m + " -p abc -n 100000000 " +
                            "--quiet --lossless --save ";
  shell(begin + tmp / "pipe.kvz" + greedy + "| head -c 2");
  EXPECT_THAT(must("inspect --check " + tmp / "pipe.kvz"), HasSubstr("every record is sound"));
}

// From one codec to another, and to none.
TEST_F(Texts, ASessionChangesItsCodec) {
  spill(tmp / "t.txt", text);
  must("extract" + m + " -f " + tmp / "t.txt -n 256 --no-queries -o " + tmp / "d.gguf");
  for (const char* bits : {"4", "6"}) {
    must("fit " + tmp / "d.gguf --codec 'hadamard | uniform(bits=" + bits + ")' -o " + tmp / bits);
  }
  must("pack" + m + " -f " + tmp / "t.txt -n 100 --codec " + tmp / "4 -o " + tmp / "4.kvz");
  const std::string load = "run" + m + greedy + "-n 2 --load " + tmp / "4.kvz --save ";
  must(load + tmp / "6.kvz --load-codec " + tmp / "4 --codec " + tmp / "6");
  EXPECT_THAT(must("inspect " + tmp / "6.kvz"), HasSubstr("bits=6"));
  must(load + tmp / "a.kvz --load-codec " + tmp / "4 --lossless");
  must(load + tmp / "b.kvz --codec " + tmp / "4 --lossless");
  EXPECT_EQ(slurp(tmp / "a.kvz"), slurp(tmp / "b.kvz"));
  EXPECT_THAT(must("inspect " + tmp / "a.kvz"), HasSubstr("lossless"));
  refused(load + tmp / "c.kvz --load-codec " + tmp / "6 --lossless", 1, "was packed by codec");
  refused("run" + m + " -p abc --load-codec " + tmp / "4", 2, "--load");
}

TEST(ChatMarkers, AreReadAsWhatTheyStandFor) {
  const std::string p =
      "run -m " + kModel + " --threads 1 -n 1 --temp 0 -p '<|im_start|>user\nHello<|im_end|>\n'";
  const auto evaluated = [](const std::string& said) {
    return std::stoi(said.substr(said.find("evaluated ") + 10));
  };
  EXPECT_LT(evaluated(run(p).text), 8);
  EXPECT_GT(evaluated(run(p + " --no-special").text), 12);
}

}  // namespace
}  // namespace kvsplice::cli
