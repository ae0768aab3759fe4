// `kvsplice serve` and the options of llama-server, in front of a script that is none: it writes
// down what it was told, and ends.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "host/tiny_model_test.h"
#include "program.h"

namespace kvsplice::cli {
namespace {

using ::testing::HasSubstr;

class ServeTest : public ::testing::Test {
 protected:
  // What llama-server was told behind what is always the same.
  std::string told(const std::string& arguments) {
    const Outcome outcome = serve(arguments);
    EXPECT_EQ(outcome.code, 1) << outcome.text;
    EXPECT_THAT(outcome.text, HasSubstr("llama-server ended with code 3 before it was ready"));
    EXPECT_THAT(outcome.text, HasSubstr("no such option"));  // its own words
    const std::string all = slurp(folder_ / "told"), fixed = "--no-context-shift";
    const size_t at = all.find(fixed);
    return at == all.npos ? "not started" : all.substr(at + fixed.size());
  }

  Outcome serve(const std::string& arguments) { return shell(command(arguments)); }

  std::string command(const std::string& arguments) {
    const std::string script = folder_ / "llama-server";
    spill(script,
          "#!/bin/sh\necho \"$@\" > " + folder_ / "told" + "\necho no such option >&2\nexit 3\n");
    std::filesystem::permissions(script, std::filesystem::perms::owner_all);
    return std::string(KVSPLICE_BINARY) + " serve --port 0 --server " + script + " --store " +
           folder_ / "store" + ' ' + arguments;
  }

  void refused(const std::string& arguments, const std::string& says) {
    const Outcome outcome = serve(arguments);
    EXPECT_EQ(outcome.code, 2) << outcome.text;
    EXPECT_THAT(outcome.text, HasSubstr(says)) << arguments;
    EXPECT_EQ(std::count(outcome.text.begin(), outcome.text.end(), '\n'), 1) << outcome.text;
    EXPECT_FALSE(std::filesystem::exists(folder_ / "told")) << arguments;
  }

  const std::string model_ = "-m " + kModel + ' ';
  Folder folder_;
};

TEST_F(ServeTest, OptionsThatItsUsersTypeReachTheServer) {
  EXPECT_EQ(told(model_ + "-c 4096 -np 2"), " --ctx-size 4096 --parallel 2\n");
  EXPECT_EQ(told(model_ + "-c 8192 -ngl 99 -fa on -ctk q8_0 --jinja -kvu"),
            " --ctx-size 8192 --kv-unified --n-gpu-layers 99 --flash-attn on --cache-type-k q8_0 "
            "--jinja\n");
  EXPECT_EQ(told(model_ + "--ctx 2048"), " --ctx-size 2048\n");
  EXPECT_EQ(told(model_ + "-t 3 -tb 4"), " --threads-batch 4 --threads 3\n");
  EXPECT_EQ(told(model_ + "-mg 1 -ts 3,1 -md draft.gguf -a name"),
            " --main-gpu 1 --tensor-split 3,1 --model-draft draft.gguf --alias name\n");
}

TEST_F(ServeTest, WhatStandsBehindIsTheServersAndWins) {
  EXPECT_EQ(told(model_ + "-c 4096 -- -c 8192 --temp 0.5 --no-such-option"),
            " --ctx-size 4096 -c 8192 --temp 0.5 --no-such-option\n");
}

TEST_F(ServeTest, AServerThatNothingIsRestoredInKeepsItsOwnWays) {
  kvsplice::testing::TinyOptions slides;
  slides.architecture = "gemma3";
  kvsplice::testing::TinyModel(slides).save(folder_ / "slides.gguf");
  const Outcome outcome = serve("-m " + folder_ / "slides.gguf");
  EXPECT_EQ(outcome.code, 1) << outcome.text;
  const std::string told = slurp(folder_ / "told");
  EXPECT_THAT(told, HasSubstr("--slot-save-path"));
  EXPECT_THAT(told, ::testing::Not(HasSubstr("--cache-ram")));
}

TEST_F(ServeTest, KeysReachTheServer) {
  EXPECT_EQ(told(model_ + "--api-key one,two"), " --api-key one,two\n");
  spill(folder_ / "keys", "# keys\nfirst\n");
  EXPECT_EQ(told(model_ + "--api-key-file " + folder_ / "keys"),
            " --api-key-file " + folder_ / "keys" + "\n");
  const Outcome none = serve(model_ + "--api-key-file /no/such/keys");
  EXPECT_EQ(none.code, 1);
  EXPECT_THAT(none.text, HasSubstr("/no/such/keys"));
}

TEST_F(ServeTest, ValuesThatCannotBeAreRefused) {
  refused(model_ + "-c many", "--ctx-size");
  refused(model_ + "-fa perhaps", "on,off,auto");
  refused(model_ + "-ctk q3", "q8_0");
  refused(model_ + "--no-such-option", "--no-such-option");
}

TEST_F(ServeTest, WhatIsOursToSetIsRefusedOnBothSides) {
  for (const std::string option :
       {"--slot-save-path x", "--cache-ram 100", "--context-shift", "--cache-reuse 256",
        "--api-prefix /x", "--no-slots", "--ssl-key-file x"}) {
    const std::string name = option.substr(0, option.find(' '));
    refused(model_ + "-- " + option, name + ": say nothing");
    refused(model_ + option, name + ": say nothing");
  }
  refused("-hf somebody/model", "-m FILE.gguf before the --");
  refused(model_ + "-- --port 80", "--port before the --");
  refused(model_ + "-- -m other.gguf", "-m before the --");
  const Outcome outcome = shell("LLAMA_ARG_API_PREFIX=/x " + command(model_));
  EXPECT_EQ(outcome.code, 2);
  EXPECT_THAT(outcome.text, HasSubstr("LLAMA_ARG_API_PREFIX"));
}

TEST_F(ServeTest, OptionsOfAServerThatRunsAreNotTaken) {
  const std::string attached = model_ + "--upstream http://127.0.0.1:1 --slots-dir /tmp ";
  refused(attached + "-c 4096", "--ctx-size is of a server that is started");
  refused(attached + "-- -ngl 99", "is of a server that is started");
}

}  // namespace
}  // namespace kvsplice::cli
