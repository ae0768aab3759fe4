// What docs/files.md promises: outputs, other programs, signals, exit codes.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <csignal>

#include "program.h"

namespace kvsplice::cli {
namespace {

namespace fs = std::filesystem;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

const std::string kProgram = KVSPLICE_BINARY;
const std::string kTexts = " --threads 1 -m " + kModel + " -f " + sample("news") + " ";

class Files : public ::testing::Test {
 protected:
  Files() : before_(::umask(022)) {}
  ~Files() override { ::umask(before_); }

  // A script of bash, for pipelines and jobs.
  Outcome bash(const std::string& script) const {
    spill(tmp_ / "script", script);
    return shell("bash " + (tmp_ / "script"));
  }
  void make_dump(const std::string& name = "dump.gguf") const {
    must("extract --synthetic -n 64 --synthetic-dim 16 -o " + tmp_ / name);
  }
  std::string fit(const std::string& out) const {
    return "fit " + tmp_ / "dump.gguf" + " --codec 'klt | step(delta=0.5)' -o " + out;
  }
  static mode_t mode(const std::string& path) {
    struct stat info {};
    return ::stat(path.c_str(), &info) == 0 ? info.st_mode & 07777 : 0;
  }
  std::vector<std::string> names(const std::string& start) const {
    std::vector<std::string> found;
    for (const auto& entry : fs::directory_iterator(tmp_ / "")) {
      const std::string name = entry.path().filename();
      if (name.starts_with(start)) found.push_back(name);
    }
    return found;
  }

  Folder tmp_;

 private:
  mode_t before_;
};

// The model is missing as well: what is said of the output is said before it is even looked at.
TEST_F(Files, OutputsAreLookedAtFirst) {
  make_dump();
  must(fit(tmp_ / "codec.gguf"));
  spill(tmp_ / "file", "");
  const std::string text = " -m none.gguf -f " + sample("news");
  for (const std::string& out : {tmp_ / "no/such/x", tmp_ / "file/x"}) {
    const std::string says = out.ends_with("such/x") ? "No such file" : "Not a directory";
    refused("calibrate" + text + " -o " + out, 1, says);
    refused(fit(out), 1, says);
    if (says == "No such file") continue;  // folders of results are made
    refused("quality" + text + " --cache q8_0 -o " + out, 1, says);
    refused("analyse " + tmp_ / "dump.gguf" + " -o " + out, 1, says);
    refused("evaluate " + tmp_ / "dump.gguf" + " " + tmp_ / "codec.gguf" + " -o " + out, 1, says);
    refused("bench --only hadamard -o " + out, 1, says);
  }
  refused("extract" + kTexts + "-n 8 -o " + tmp_ / "no/such/x", 1, "No such file");
  const Outcome ran =
      run("run --threads 1 -m " + kModel + " -p Once -n 4 --lossless --save " + tmp_ / "no/such/x");
  EXPECT_EQ(ran.code, 1);
  EXPECT_THAT(ran.text, Not(HasSubstr("Once"))) << "the error comes before the text";
}

TEST_F(Files, LinksModesAndLongNamesAreKept) {
  make_dump();
  EXPECT_EQ(mode(tmp_ / "dump.gguf"), 0600u) << "it holds the text";
  fs::create_directory(tmp_ / "far");
  fs::create_symlink("far/real.gguf", tmp_ / "link.gguf");
  must(fit(tmp_ / "link.gguf"));
  EXPECT_EQ(mode(tmp_ / "far/real.gguf"), 0644u);
  ::chmod((tmp_ / "far/real.gguf").c_str(), 0640);
  const std::string before = slurp(tmp_ / "far/real.gguf");
  spill(tmp_ / "far/real.gguf", "old");
  must(fit(tmp_ / "link.gguf"));
  EXPECT_TRUE(fs::is_symlink(tmp_ / "link.gguf"));
  EXPECT_EQ(slurp(tmp_ / "far/real.gguf"), before);
  EXPECT_EQ(mode(tmp_ / "far/real.gguf"), 0640u);
  must(fit(tmp_ / (std::string(250, 'x') + ".gguf")));
  EXPECT_THAT(names(".kvs-"), ElementsAre());
}

TEST_F(Files, FifosAndTheStandardOutputAreWrittenTo) {
  make_dump();
  must(fit(tmp_ / "codec.gguf"));
  const std::string codec = slurp(tmp_ / "codec.gguf");
  ASSERT_EQ(::mkfifo((tmp_ / "pipe").c_str(), 0600), 0);
  const Outcome piped = bash("cat " + tmp_ / "pipe" + " >" + tmp_ / "copy" + " & " + kProgram +
                             " " + fit(tmp_ / "pipe") + "; code=$?; wait; exit $code");
  EXPECT_EQ(piped.code, 0) << piped.text;
  EXPECT_TRUE(fs::is_fifo(tmp_ / "pipe"));
  EXPECT_EQ(slurp(tmp_ / "copy"), codec);
  for (const std::string& to : {std::string("| cat >"), std::string(">")}) {
    const Outcome out = bash(kProgram + " " + fit("/dev/stdout") + to + tmp_ / "copy");
    EXPECT_EQ(out.code, 0) << out.text;
    EXPECT_EQ(slurp(tmp_ / "copy"), codec) << "and nothing else, " << to;
  }
}

TEST_F(Files, TextsComeFromAnythingCodecsFromFiles) {
  spill(tmp_ / "text", "Once upon a time");
  const std::string run_it =
      kProgram + " run --threads 1 -m " + kModel + " -n 2 --temp 0 --quiet -f ";
  const std::string expected = bash(run_it + tmp_ / "text").text;
  for (const std::string& way :
       {"- <" + tmp_ / "text", "/dev/stdin <" + tmp_ / "text", "<(cat " + tmp_ / "text)"}) {
    EXPECT_EQ(bash(run_it + way).text, expected) << way;
  }
  EXPECT_EQ(bash(run_it + "/proc/version").code, 0);
  make_dump();
  const Outcome piped = bash(kProgram + " inspect --json <(cat " + tmp_ / "dump.gguf) >/dev/null");
  EXPECT_NE(piped.code, 0);
}

TEST_F(Files, ASecondWriterIsToldBeforeItBegins) {
  make_dump();
  spill(tmp_ / "codec.gguf", "old");
  const int held = ::open((tmp_ / "codec.gguf").c_str(), O_RDWR | O_CLOEXEC);
  ASSERT_EQ(::flock(held, LOCK_EX), 0);
  refused(fit(tmp_ / "codec.gguf"), 1, "another program writes to it");
  EXPECT_EQ(slurp(tmp_ / "codec.gguf"), "old");
  ::close(held);
  must(fit(tmp_ / "codec.gguf"));
}

TEST_F(Files, WhatAKilledWriterLeavesIsRemoved) {
  const std::string extract = "extract" + kTexts + "-n 1024 -o " + tmp_ / "dump.gguf";
  const Outcome killed = bash(kProgram + " " + extract + " & p=$!; until ls -A " + tmp_ / "" +
                              " | grep -q ^.kvs-; do sleep .02; kill -0 $p || exit 1; done; "
                              "kill -9 $p; wait $p");
  EXPECT_EQ(killed.code, 128 + SIGKILL) << killed.text;
  EXPECT_EQ(names(".kvs-").size(), 1u);
  must("extract --synthetic -n 64 -o " + tmp_ / "dump.gguf");
  EXPECT_THAT(names(".kvs-"), ElementsAre());
}

TEST_F(Files, CalibrationStopsWhenItIsAsked) {
  const std::string calibrate =
      kProgram + " calibrate" + kTexts + "-n 4096 --sequence 1024 -o " + tmp_ / "c.gguf";
  for (const auto& [signal, number] : {std::pair("INT", SIGINT), std::pair("HUP", SIGHUP)}) {
    const Outcome stopped =
        bash("export TMPDIR=" + tmp_ / "" + "; " + calibrate + " & p=$!; until ls -d " +
             tmp_ / "kvsplice-calibrate-*" + " >/dev/null 2>&1; do sleep .05; done; kill -" +
             signal + " $p; wait $p");
    EXPECT_EQ(stopped.code, 128 + number) << stopped.text;
    EXPECT_THAT(stopped.text, HasSubstr("stopped on request"));
    EXPECT_THAT(names("kvsplice-calibrate-"), ElementsAre());
    EXPECT_THAT(names("c.gguf"), ElementsAre());
  }
}

// Runs of so many tokens that they cannot end by themselves in the time they have.
class Conversations : public Files {
 protected:
  std::string talk(const std::string& more) const {
    return kProgram + " run --threads 1 -m " + kModel + " --temp 0 --ignore-end --lossless " + more;
  }
  void is_sound(const std::string& path) const {
    EXPECT_THAT(must("inspect --check " + path), HasSubstr("every record is sound"));
  }
  const std::string s_ = tmp_ / "s.kvz";
  const std::string endless_ = talk("-p Once --quiet -n 2000 --save " + s_);
};

TEST_F(Conversations, AreSavedWhenTheReaderGoesAway) {
  const Outcome cut = bash(endless_ + " | head -c 5; exit ${PIPESTATUS[0]}");
  EXPECT_EQ(cut.code, 128 + SIGPIPE) << cut.text;
  is_sound(s_);
}

TEST_F(Conversations, AreSavedWhenTheyAreStopped) {
  for (const auto& [signal, number] :
       {std::pair("INT", SIGINT), std::pair("TERM", SIGTERM), std::pair("HUP", SIGHUP)}) {
    const Outcome stopped =
        bash(endless_ + " >" + tmp_ / "text" + " & p=$!; until [ -s " + tmp_ / "text" +
             " ]; do sleep .05; done; kill -" + signal + " $p; wait $p");
    EXPECT_EQ(stopped.code, 128 + number) << stopped.text;
    is_sound(s_);
    fs::remove(s_);
    fs::remove(tmp_ / "text");
  }
}

TEST_F(Conversations, AreSavedWhenTheOutputCannotBeWritten) {
  for (const char* nowhere : {">/dev/full", ">&-"}) {
    const Outcome full = bash(talk("-p Once --quiet -n 4 --save " + s_) + " " + nowhere);
    EXPECT_EQ(full.code, 1);
    EXPECT_THAT(full.text, HasSubstr("cannot write to the standard output"));
    is_sound(s_);
    fs::remove(s_);
  }
  EXPECT_EQ(bash(kProgram + " --help >/dev/full").code, 1);
}

TEST_F(Conversations, AreRefusedWhenAnotherProgramWritesToThem) {
  ASSERT_EQ(bash(talk("-p Once -n 1 --save " + s_)).code, 0);
  const int held = ::open(s_.c_str(), O_RDWR | O_CLOEXEC);
  ASSERT_EQ(::flock(held, LOCK_EX), 0);
  const Outcome refused = bash(talk("-p ' and' -n 4 --load " + s_ + " --save " + s_));
  EXPECT_EQ(refused.code, 1);
  EXPECT_THAT(refused.text, HasSubstr("another program writes to it"));
  EXPECT_THAT(refused.text, Not(HasSubstr(" and"))) << "before the first word";
  ::close(held);
}

TEST_F(Conversations, KeepTheirModeInCopiesAndInPlace) {
  ASSERT_EQ(bash(talk("-p Once -n 1 --save " + s_)).code, 0);
  EXPECT_EQ(mode(s_), 0600u);
  ::chmod(s_.c_str(), 0640);
  fs::create_symlink("s.kvz", tmp_ / "link");
  ASSERT_EQ(bash(talk("-n 1 --load " + s_ + " --save " + tmp_ / "copy.kvz")).code, 0);
  EXPECT_EQ(mode(tmp_ / "copy.kvz"), 0640u);
  is_sound(tmp_ / "copy.kvz");
  ASSERT_EQ(bash(talk("-n 1 --load " + s_ + " --save " + tmp_ / "link")).code, 0);
  EXPECT_TRUE(fs::is_symlink(tmp_ / "link"));
  EXPECT_EQ(mode(s_), 0640u);
  EXPECT_THAT(must("inspect " + s_), HasSubstr("2 tokens"));
}

}  // namespace
}  // namespace kvsplice::cli
