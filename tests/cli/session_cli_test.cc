// pack, unpack, inspect and run on the small model, as a user types them.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <csignal>

#include "program.h"

namespace kvsplice::cli {
namespace {

using ::testing::AllOf;
using ::testing::ContainsRegex;
using ::testing::HasSubstr;
using ::testing::StartsWith;

const std::string kPrompt = "'The harbour was quiet that morning, and'";

// A codec of the model and two sessions, made once for all tests.
class SessionVerbs : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    made = new Folder;
    must("extract -m " + kModel + " -f " + sample("fiction") + " -n 64 --no-queries -o " +
         *made / "dump.gguf");
    must("fit " + *made / "dump.gguf" + " --codec 'hadamard | uniform(bits=4,block=32)' -o " +
         *made / "codec.gguf");
    must("fit " + *made / "dump.gguf" + " --codec 'exact(ridge=0.03) | range' -o " +
         *made / "bits.gguf");
    must("pack -m " + kModel + " -f " + sample("news") + " -n 60 --lossless -o " +
         *made / "exact.kvz");
    must("pack -m " + kModel + " -f " + sample("news") + " -n 60 --codec " + *made / "codec.gguf" +
         " --window 8 --block 16 -o " + *made / "coded.kvz");
  }
  static void TearDownTestSuite() { delete made; }

  static inline Folder* made = nullptr;
  const std::string exact_ = *made / "exact.kvz", coded_ = *made / "coded.kvz",
                    codec_ = *made / "codec.gguf";
  const std::string m_ = " -m " + kModel, c_ = " --codec " + codec_;
  Folder tmp_;
};

TEST_F(SessionVerbs, AStateGoesInAndComesOutToTheBit) {
  for (const std::string form : {"sequence", "session"}) {
    must("unpack " + exact_ + m_ + " --form " + form + " -o " + tmp_ / "a.state");
    must("pack " + tmp_ / "a.state" + m_ + " --lossless -o " + tmp_ / "b.kvz");
    must("unpack " + tmp_ / "b.kvz" + m_ + " --form " + form + " -o " + tmp_ / "b.state");
    EXPECT_EQ(slurp(tmp_ / "a.state"), slurp(tmp_ / "b.state")) << form;
    must("pack " + tmp_ / "a.state" + m_ + " --lossless --codec " + *made / "bits.gguf" + " -o " +
         tmp_ / "c.kvz");
    must("unpack " + tmp_ / "c.kvz" + m_ + " --codec " + *made / "bits.gguf" + " --form " + form +
         " -o " + tmp_ / "c.state");
    EXPECT_EQ(slurp(tmp_ / "a.state"), slurp(tmp_ / "c.state")) << form;
    EXPECT_THAT(must("inspect " + tmp_ / "a.state"),
                AllOf(HasSubstr(form + " file, version"), HasSubstr(", 60 tokens")));
  }
  EXPECT_GT(slurp(tmp_ / "a.state").size(), 59u * 30 * 2 * 384);
}

TEST_F(SessionVerbs, Q8StatesGoInAndComeOut) {
  const std::string state = tmp_ / "q8.state";
  must("unpack " + exact_ + m_ + " --type q8_0 -o " + state);
  EXPECT_THAT(must("inspect " + state), AllOf(HasSubstr("q8_0"), HasSubstr("204")));
  must("pack " + state + m_ + " --lossless -o " + tmp_ / "q8.kvz");
  must("unpack " + tmp_ / "q8.kvz" + m_ + " --type q8_0 -o " + tmp_ / "again.state");
  const std::string a = slurp(state), b = slurp(tmp_ / "again.state");
  ASSERT_EQ(a.size(), b.size());
  size_t differ = 0;
  for (size_t i = 0; i < a.size(); ++i) differ += a[i] != b[i];
  EXPECT_LT(differ, a.size() / 5000) << "codes and scales are found again, but for a few scales";
}

TEST_F(SessionVerbs, ACodecNeedsNoModelUnlessItReadsEmbeddings) {
  must("unpack " + coded_ + m_ + c_ + " -o " + tmp_ / "a.state");
  must("unpack " + coded_ + c_ + " -o " + tmp_ / "b.state");
  EXPECT_EQ(slurp(tmp_ / "a.state"), slurp(tmp_ / "b.state"));
}

TEST_F(SessionVerbs, APrefixIsReadAlone) {
  must("unpack " + coded_ + c_ + " -o " + tmp_ / "all.state");
  must("unpack " + coded_ + c_ + " -n 20 -o " + tmp_ / "some.state");
  EXPECT_THAT(must("inspect " + tmp_ / "some.state"), HasSubstr("20 tokens"));
  // Damage behind the prefix does not matter to it.
  std::string bytes = slurp(coded_);
  bytes[bytes.size() * 3 / 4] ^= 1;
  spill(tmp_ / "bad.kvz", bytes);
  must("unpack " + tmp_ / "bad.kvz" + c_ + " -n 20 -o " + tmp_ / "still.state");
  EXPECT_EQ(slurp(tmp_ / "some.state"), slurp(tmp_ / "still.state"));
  refused("unpack " + tmp_ / "bad.kvz" + c_ + " -o " + tmp_ / "x.state", 1, "is damaged");
  const Outcome checked = run("inspect --check " + tmp_ / "bad.kvz");
  EXPECT_EQ(checked.code, 1);
  EXPECT_THAT(checked.text, HasSubstr("is damaged"));
}

TEST_F(SessionVerbs, InspectTellsWhatAFileIs) {
  EXPECT_THAT(must("inspect --check " + coded_),
              AllOf(HasSubstr("60 tokens"), HasSubstr("hadamard | uniform(bits=4,block=32)"),
                    HasSubstr("coded"), HasSubstr("every record is sound")));
  EXPECT_THAT(must("inspect " + codec_), HasSubstr("fitted on"));
  EXPECT_THAT(must("inspect " + *made / "dump.gguf"), HasSubstr("dump of 64 tokens"));
  EXPECT_THAT(must("inspect --json " + coded_), AllOf(StartsWith("["), HasSubstr("\"coded\"")));
  EXPECT_THAT(must("inspect " + kModel),
              AllOf(HasSubstr("model Smollm2 135M"), HasSubstr("30 layers with a cache"),
                    HasSubstr("23040 bytes of f16 cells a token")));
  refused("inspect --check " + codec_, 2, "--check is for sessions");
}

TEST_F(SessionVerbs, WrongFilesAreNamed) {
  const std::string out = " -o " + tmp_ / "x";
  refused("pack " + tmp_ / "none" + m_ + " --lossless" + out, 1, "none");
  refused("pack " + sample("news") + m_ + " --lossless" + out, 1, "not the start of a llama.cpp");
  refused("unpack " + tmp_ / "none" + m_ + out, 1, "none");
  refused("unpack " + sample("news") + m_ + out, 1, "not a session.kvz");
  refused("unpack " + exact_ + " --codec " + exact_ + out, 1, "exact.kvz");
  refused("inspect " + tmp_ / "none", 1, "none");
  refused("inspect " + sample("news"), 1, "news.txt");
  spill(tmp_ / "empty", "");
  refused("inspect " + tmp_ / "empty", 1, "empty");
  refused("unpack " + tmp_ / "empty" + m_ + out, 1, "empty");
  spill(tmp_ / "cut.kvz", slurp(exact_).substr(0, 5000));
  refused("unpack " + tmp_ / "cut.kvz" + m_ + out, 1, "cut.kvz: truncated");
  must("unpack " + exact_ + m_ + " -o " + tmp_ / "s");
  spill(tmp_ / "cut.state", slurp(tmp_ / "s").substr(0, 5000));
  refused("pack " + tmp_ / "cut.state" + m_ + " --lossless" + out, 1, "cut.state: truncated");
  refused("pack " + tmp_ / "s" + m_ + " --lossless -o " + tmp_ / "no/x", 1, "cannot create");
  EXPECT_FALSE(std::filesystem::exists(tmp_ / "x"));
}

TEST_F(SessionVerbs, OtherModelsAndCodecsAreRefused) {
  const std::string out = " -o " + tmp_ / "x";
  must("extract --synthetic -n 128 --synthetic-dim 16 -o " + tmp_ / "other.gguf");
  must("fit " + tmp_ / "other.gguf" + " --codec 'klt | step' -o " + tmp_ / "foreign.gguf");
  const std::string foreign = " --codec " + tmp_ / "foreign.gguf";
  refused("unpack " + exact_ + foreign + out, 1, "was made with model");
  refused("unpack " + exact_ + m_ + foreign + out, 1, "was fitted for model");
  must("unpack " + exact_ + m_ + " -o " + tmp_ / "s");
  refused("pack " + tmp_ / "s" + foreign + out, 1, "layers, the model");
  must("fit " + *made / "dump.gguf" + " --codec 'hadamard | uniform(bits=3)' -o " +
       tmp_ / "wide.gguf");
  refused("unpack " + coded_ + " --codec " + tmp_ / "wide.gguf" + out, 1, "was packed by codec");
  refused("unpack " + coded_ + m_ + out, 1, "none was given");
}

TEST_F(SessionVerbs, WrongUseIsCodeTwo) {
  const std::string out = " -o " + tmp_ / "x", text = " -f " + sample("news") + " -n 8";
  refused("pack " + exact_ + m_ + text + " --lossless" + out, 2, "either a llama.cpp state (or");
  refused("pack" + m_ + " --lossless" + out, 2, "either a llama.cpp state (or");
  refused("pack" + m_ + text + out, 2, "give a codec");
  refused("pack" + m_ + text + c_ + " --lossless" + out, 2, "needs a codec of the stage 'exact'");
  refused("pack" + c_ + text + out, 2, "needs a model");
  refused("pack" + m_ + text + c_ + " --block 0" + out, 2, "legal: 1 ... 4096");
  refused("pack" + m_ + " -f " + sample("news") + " -n 1000000 --lossless" + out, 2, "tokens");
  refused("unpack " + exact_ + out, 2, "name the model");
  refused("unpack " + exact_ + m_ + " -n 61" + out, 2, "of a session of 60");
  refused("run" + m_, 2, "give a prompt");
  refused("run" + m_ + " -p a -f " + sample("news"), 2, "not both");
  refused("run" + m_ + " -p a --temp -1", 2, "legal: 0 ... 100");
  refused("run" + m_ + " -p a --cache q4_0", 2, "legal: f16, q8_0");
  refused("run" + m_ + " -p a --save " + tmp_ / "x", 2, "--lossless");
  refused("run" + m_ + " --ctx 20 -f " + sample("news"), 2,
          "the context of 20 tokens holds no more");
  refused("run" + m_ + " -p a --load " + tmp_ / "none", 1, "none");
  refused("run" + m_ + " -p a --load " + coded_, 1, "none was given");
}

TEST_F(SessionVerbs, ASessionIsPackedAnewByAnotherCodec) {
  const std::string m = m_;
  must("pack " + coded_ + m + " --load-codec " + codec_ + " --lossless -o " + tmp_ / "x.kvz");
  EXPECT_THAT(must("inspect " + tmp_ / "x.kvz"), HasSubstr("lossless"));
  must("unpack " + coded_ + m + c_ + " -o " + tmp_ / "a.state");
  must("unpack " + tmp_ / "x.kvz" + m + " -o " + tmp_ / "b.state");
  EXPECT_EQ(slurp(tmp_ / "a.state"), slurp(tmp_ / "b.state"));
  must("pack " + exact_ + m + c_ + " -n 50 -o " + tmp_ / "y.kvz");
  EXPECT_THAT(must("inspect " + tmp_ / "y.kvz"), AllOf(HasSubstr("50 tokens"), HasSubstr("codec")));
  const std::string out = " -o " + tmp_ / "z";
  refused("pack " + coded_ + m + " --lossless" + out, 1, "none was given");
  refused("pack " + exact_ + m + c_ + " -n 61" + out, 2, "has 60 tokens, 61 are wanted");
  refused("pack " + exact_ + m + c_ + " --no-rotation" + out, 2, "this is a session");
}

// What was saved continues as if it had never stopped: the cells are the same to the bit.
TEST_F(SessionVerbs, AConversationGoesOnWhereItStopped) {
  for (const std::string cache : {"f16", "q8_0"}) {
    const std::string how = m_ + " --temp 0 --quiet --threads 1 --cache " + cache + " 2>" +
                            tmp_ / "speed",
                      s = tmp_ / (cache + ".kvz");
    const std::string whole = must("run -p " + kPrompt + " -n 16" + how);
    std::string parts = must("run -p " + kPrompt + " -n 6 --lossless --save " + s + how);
    for (int i = 0; i < 2; ++i) {
      parts.pop_back();  // the newline
      parts += must("run -n 5 --lossless --load " + s + " --save " + s + how);
    }
    if (cache == "f16") {
      EXPECT_EQ(parts, whole);
    } else {
      EXPECT_THAT(parts, StartsWith(whole.substr(0, 12)));
    }
    EXPECT_THAT(must("inspect --check " + s), HasSubstr("every record is sound"));
  }
}

TEST_F(SessionVerbs, BlocksOfACodedSessionStayAndGrow) {
  const std::string how = m_ + c_ + " --temp 0 -n 4 -p ' And then the wind rose.' ";
  must("run" + how + "--load " + coded_ + " --save " + tmp_ / "more.kvz");
  const std::string before = slurp(coded_), after = slurp(tmp_ / "more.kvz");
  EXPECT_EQ(after.substr(0, before.size()), before) << "records move";
  const std::string said = must("run" + how + "--load " + tmp_ / "more.kvz");
  EXPECT_THAT(said, ContainsRegex("restored 6[0-9] tokens"));
  // Nothing evaluated but one pending token: it is kept, too.
  must("run" + m_ + c_ + " -n 1 --load " + tmp_ / "more.kvz" + " --save " + tmp_ / "one.kvz");
  EXPECT_THAT(must("inspect " + tmp_ / "one.kvz"), HasSubstr("1 pending tokens"));
  // Another way of coding: the session is packed anew.
  must("run" + how + "--load " + exact_ + " --save " + tmp_ / "new.kvz");
  EXPECT_THAT(must("inspect " + tmp_ / "new.kvz"), HasSubstr("codec "));
}

// The shell hands an ignored signal on: writing beyond the limit is an error, as on a full disk.
TEST_F(SessionVerbs, AFullDiskLeavesWhatWasThere) {
  const std::string full = "trap '' XFSZ; ulimit -f 200; " + std::string(KVSPLICE_BINARY);
  const Outcome packed =
      shell(full + " pack -f " + sample("news") + m_ + " -n 60 --lossless -o " + tmp_ / "x.kvz");
  EXPECT_EQ(packed.code, 1) << packed.text;
  EXPECT_THAT(packed.text, HasSubstr("cannot write"));
  EXPECT_FALSE(std::filesystem::exists(tmp_ / "x.kvz"));
  EXPECT_TRUE(std::filesystem::is_empty(tmp_ / "")) << "a temporary stayed";
  spill(tmp_ / "s.kvz", slurp(coded_));
  const std::string s = tmp_ / "s.kvz";
  const Outcome grown =
      shell(full + " run" + m_ + c_ + " -n 60 --ignore-end --load " + s + " --save " + s);
  EXPECT_EQ(grown.code, 1) << grown.text;
  EXPECT_THAT(grown.text, HasSubstr("cannot write"));
  EXPECT_EQ(slurp(s), slurp(coded_));
}

// Started alone, then killed when a file has grown: to how many bytes it is known from another run.
class Writer {
 public:
  explicit Writer(const std::string& arguments) : pid_(::fork()) {
    const std::string command = "exec " KVSPLICE_BINARY " " + arguments + " >/dev/null 2>&1";
    if (pid_ != 0) return;
    ::execl("/bin/sh", "sh", "-c", command.c_str(), nullptr);
    ::_exit(127);
  }
  // How it ended, as a shell says it.
  int signal_at(const std::string& path, uintmax_t bytes, int signal) const {
    int status = 0;
    while (::waitpid(pid_, &status, WNOHANG) == 0) {
      if (std::filesystem::file_size(path) < bytes) {
        ::usleep(100);
        continue;
      }
      ::kill(pid_, signal);
      ::waitpid(pid_, &status, 0);
      break;
    }
    return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
  }

 private:
  const pid_t pid_;
};

// Saving adds some forty records to the file, one after the other, then an index.
class GrowingSession : public SessionVerbs {
 protected:
  GrowingSession() {
    spill(s_, before_);
    spill(tmp_ / "more.txt", slurp(sample("news")).substr(0, 2600));
    must(grow_);
    grown_ = slurp(s_);
    EXPECT_GT(grown_.size(), 4 * before_.size());
  }
  // Of a session that is as it was before.
  int signal_when_written(double share, int signal) const {
    spill(s_, before_);
    const double more = double(grown_.size() - before_.size());
    return Writer(grow_).signal_at(s_, before_.size() + 1 + uintmax_t(share * more), signal);
  }
  std::string checked() const { return must("inspect --check " + s_); }

  const std::string s_ = tmp_ / "s.kvz", before_ = slurp(coded_);
  const std::string grow_ = "run --threads 1 --temp 0 --ignore-end -n 1" + m_ + c_ + " -f " +
                            tmp_ / "more.txt" + " --load " + s_ + " --save " + s_;
  std::string grown_;
};

TEST_F(GrowingSession, IsTheOldOneIfTheWriterIsKilled) {
  for (const double share : {0.0, 0.4, 0.8}) {
    // A kill that comes too late, because the machine is busy, finds the new session.
    bool found_old = false;
    for (int tries = 0; tries < 5 && !found_old; ++tries) {
      const int code = signal_when_written(share, SIGKILL);
      EXPECT_THAT(checked(), HasSubstr("every record is sound"));
      const std::string left = slurp(s_);
      if (left == grown_) continue;
      found_old = true;
      EXPECT_EQ(code, 128 + SIGKILL);
      EXPECT_GT(left.size(), before_.size()) << "it was writing";
      EXPECT_EQ(left.substr(0, before_.size()), before_);
      EXPECT_THAT(checked(), HasSubstr(" 60 tokens"));
    }
    EXPECT_TRUE(found_old) << "at " << share;
  }
  must(grow_);
  EXPECT_THAT(checked(), HasSubstr("every record is sound")) << "over what the killed one has left";
  EXPECT_EQ(slurp(s_).size(), grown_.size());
}

TEST_F(GrowingSession, IsTheNewOneIfTheWriterIsAskedToStop) {
  EXPECT_EQ(signal_when_written(0.2, SIGINT), 128 + SIGINT);
  EXPECT_EQ(slurp(s_), grown_);
}

}  // namespace
}  // namespace kvsplice::cli
