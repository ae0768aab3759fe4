// Every error path ends in one clear line and the right exit code: 1 failed, 2 wrong usage.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "program.h"

namespace kvsplice::cli {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

void expect_failure(const std::string& arguments, int code, const std::string& says) {
  const Outcome outcome = run(arguments);
  EXPECT_EQ(outcome.code, code) << arguments << "\n" << outcome.text;
  EXPECT_THAT(outcome.text, HasSubstr(says)) << arguments;
  // One line, unless it is the command-line parser's with its hint.
  if (code == 1) {
    EXPECT_EQ(std::count(outcome.text.begin(), outcome.text.end(), '\n'), 1) << outcome.text;
  }
}

TEST(Program, SaysItsVersionAndVerbs) {
  EXPECT_EQ(run("--version").code, 0);
  const Outcome help = run("--help");
  EXPECT_EQ(help.code, 0);
  for (const char* verb : {"extract", "analyse", "fit", "evaluate", "quality", "report", "bench"}) {
    EXPECT_THAT(help.text, HasSubstr(verb));
  }
}

TEST(Program, WrongUsageIsCodeTwo) {
  expect_failure("", 2, "name a verb");
  expect_failure("compress", 2, "no verb is called 'compress'; there are: analyse, ");
  expect_failure("quality --frobnicate", 2, "required");
  expect_failure("extract -o", 2, "-o");
}

TEST(Extract, ErrorsNameTheFileAndTheValue) {
  Folder tmp;
  const std::string out = tmp / "d.gguf";
  expect_failure("extract -m " + (tmp / "none.gguf") + " -f " + sample("news") + " -o " + out, 1,
                 "none.gguf");
  expect_failure("extract -m " + kModel + " -f " + (tmp / "none.txt") + " -o " + out, 1,
                 "none.txt");
  expect_failure("extract -m " + kModel + " -f " + sample("news") + " -n 100000 -o " + out, 2,
                 "tokens");
  expect_failure("extract -m " + kModel + " -f " + sample("news") + " -n 64 --layers 99 -o " + out,
                 2, "99");
  expect_failure("extract -m " + sample("news") + " -f " + sample("news") + " -o " + out, 1,
                 "news.txt");
  EXPECT_FALSE(std::filesystem::exists(out));
}

TEST(Extract, TruncatedModelIsRefused) {
  Folder tmp;
  const std::string cut = tmp / "cut.gguf";
  spill(cut, slurp(kModel).substr(0, 3000000));
  expect_failure("extract -m " + cut + " -f " + sample("news") + " -n 64 -o " + (tmp / "d.gguf"), 1,
                 "cut.gguf");
}

// A synthetic dump is a model of its own: quick to make, and foreign to the real one.
class WithCodec : public ::testing::Test {
 protected:
  void SetUp() override {
    dump = tmp / "dump.gguf";
    codec = tmp / "codec.gguf";
    ASSERT_EQ(run("extract --synthetic -n 128 --synthetic-dim 16 -o " + dump).code, 0);
    const Outcome fitted = run("fit " + dump + " --codec 'klt | step(delta=0.5)' -o " + codec);
    ASSERT_EQ(fitted.code, 0) << fitted.text;
  }
  Folder tmp;
  std::string dump, codec;
};

TEST_F(WithCodec, PipelineTextIsCheckedBeforeAnythingElse) {
  const std::string head = "fit " + dump + " -o " + (tmp / "x.gguf") + " --codec ";
  expect_failure(head + "'wavelet'", 2, "klt");
  expect_failure(head + "'klt(order=2)'", 2, "scope");
  expect_failure(head + "'klt(scope=town)'", 2, "head, layer, model");
  expect_failure(head + "'step | klt'", 2, "cannot follow");
  expect_failure(head + "'svd(ratio=4,rank=3)'", 2, "svd");
  EXPECT_FALSE(std::filesystem::exists(tmp / "x.gguf"));
}

TEST_F(WithCodec, BadFilesAreRefused) {
  const std::string out = " -o " + (tmp / "r");
  expect_failure("fit " + codec + " --codec klt -o " + (tmp / "x.gguf"), 1, "codec.gguf");
  expect_failure("evaluate " + dump + " " + dump + out, 1, "dump.gguf");
  spill(tmp / "cut.gguf", slurp(codec).substr(0, 700));
  expect_failure("evaluate " + dump + " " + (tmp / "cut.gguf") + out, 1, "cut.gguf");
  spill(tmp / "empty.gguf", "");
  expect_failure("analyse " + (tmp / "empty.gguf") + out, 1, "empty.gguf");
}

TEST_F(WithCodec, ACodecRefusesAnotherModel) {
  expect_failure("quality -m " + kModel + " -f " + sample("news") +
                     " --ctx 64 --chunks 1 --cache " + codec + " -o " + (tmp / "q"),
                 1, "was fitted for");
  ASSERT_EQ(run("extract --synthetic -n 128 --synthetic-dim 32 -o " + (tmp / "other.gguf")).code,
            0);
  expect_failure("evaluate " + (tmp / "other.gguf") + " " + codec + " -o " + (tmp / "e"), 1,
                 "model");
}

TEST_F(WithCodec, QualityChecksItsArguments) {
  const std::string head =
      "quality -m " + kModel + " -f " + sample("news") + " -o " + (tmp / "q") + " ";
  expect_failure(head + "--cache q9_9", 2, "q8_0");
  expect_failure(head + "--cache q8_0 --ctx 1024 --chunks 500", 2, "tokens");
  expect_failure(head + "--cache q8_0 --ctx 4", 2, "ctx");
  expect_failure(head + "--cache q8_0 --chunks 0", 2, "chunks");
  expect_failure(head + "--cache q8_0 --ctx 64 --sinks 64", 2, "sinks");
  expect_failure(head + "--cache q8_0 --ctx 1000000", 2, "trained");
}

TEST_F(WithCodec, TheWholeChainOnASyntheticDump) {
  ASSERT_EQ(run("analyse " + dump + " -o " + (tmp / "a")).code, 0);
  const Outcome evaluated = run("evaluate " + dump + " " + codec + " -o " + (tmp / "e"));
  ASSERT_EQ(evaluated.code, 0) << evaluated.text;
  const Outcome reported =
      run("report " + (tmp / "a") + " " + (tmp / "e") + " -o " + (tmp / "r.html"));
  ASSERT_EQ(reported.code, 0) << reported.text;
  const std::string page = slurp(tmp / "r.html");
  EXPECT_THAT(page, AllOf(HasSubstr("<svg"), HasSubstr("</html>"), Not(HasSubstr("http://cdn"))));
  EXPECT_THAT(slurp(tmp / "e/manifest.json"), HasSubstr("evaluate"));
}

TEST(Report, NeedsResults) {
  Folder tmp;
  expect_failure("report " + (tmp / "nothing") + " -o " + (tmp / "r.html"), 1, "nothing");
}

TEST(Output, AFolderThatCannotBeMadeIsAnError) {
  Folder tmp;
  spill(tmp / "file", "x");
  expect_failure("extract --synthetic -n 64 -o " + (tmp / "file/d.gguf"), 1, "d.gguf");
}

}  // namespace
}  // namespace kvsplice::cli
