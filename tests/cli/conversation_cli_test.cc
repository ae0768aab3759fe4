// `run -cnv`: messages through a pipe, commands, live caches that are saved, and limits.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "host/tiny_model_test.h"
#include "program.h"

namespace kvsplice::cli {
namespace {

using kvsplice::testing::TinyModel;
using kvsplice::testing::TinyOptions;
using ::testing::AllOf;
using ::testing::EndsWith;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;

const std::string kWidths =
    " --codec 'k: rotmean(rest=on)|rotate|klt|widths(delta=1); v: klt|widths(delta=1)' -o ";
const std::string kGreedy = " --temp 0 --quiet --threads 1 ";

// What it puts out for these lines, one of `run -cnv`.
Outcome answers(const Folder& folder, const std::string& lines, const std::string& options,
                const std::string& streams = " 2>/dev/null") {
  spill(folder / "lines", lines);
  return shell("(" + std::string(KVSPLICE_BINARY) + " run -cnv" + options + " <" +
               folder / "lines" + streams + ")");
}

// What it says on the error stream.
Outcome remarks(const Folder& folder, const std::string& lines, const std::string& options) {
  return answers(folder, lines, options, " 2>&1 >/dev/null");
}

class OnTheSmallModel : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    made = new Folder;
    must("extract -m " + kModel + " -f " + sample("fiction") + " -n 256 --no-queries -o " +
         *made / "dump.gguf");
    must("fit " + *made / "dump.gguf" + kWidths + *made / "live.gguf");
  }
  static void TearDownTestSuite() { delete made; }

  static inline Folder* made = nullptr;
  const std::string m_ = " -m " + kModel + kGreedy;
  const std::string live_ = " --cache " + *made / "live.gguf" + " --window 16 ";
  Folder tmp_;
};

TEST_F(OnTheSmallModel, TwoTurnsAreOneRunOfTheTemplate) {
  for (const std::string& cache : {std::string(), std::string(" --cache q8_0 "), live_}) {
    const std::string first = "What is the capital of France?", second = "And of Italy?";
    const Outcome both =
        answers(tmp_, first + "\n" + second + "\n", m_ + cache + "-n 7 -sys 'Be brief.'");
    ASSERT_EQ(both.code, 0);
    const size_t end = both.text.find('\n');
    const std::string answer = both.text.substr(0, end);
    std::string text = "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\n" + first +
                       "<|im_end|>\n<|im_start|>assistant\n";
    spill(tmp_ / "one", text);
    const std::string run = std::string(KVSPLICE_BINARY) + " run" + m_ + cache + " -n 7 -f ";
    EXPECT_EQ(shell(run + tmp_ / "one").text, answer + "\n") << cache;
    text +=
        answer + "<|im_end|>\n<|im_start|>user\n" + second + "<|im_end|>\n<|im_start|>assistant\n";
    spill(tmp_ / "two", text);
    EXPECT_EQ(shell(run + tmp_ / "two").text, both.text.substr(end + 1)) << cache;
  }
}

// With a text long enough that most of it is coded.
TEST_F(OnTheSmallModel, ASavedConversationGoesOnAsIfItHadNotStopped) {
  spill(tmp_ / "first", slurp(sample("news")).substr(0, 2500) + " Summarise this.");
  const std::string first = " -f " + tmp_ / "first", k = tmp_ / "k.kvz";
  for (const std::string& cache : {std::string(" --lossless "), live_}) {
    const std::string how = m_ + cache + "-n 6 ";
    const std::string whole = answers(tmp_, "Who says so?\nWhen?\n", how + first).text;
    std::string parts = answers(tmp_, "/save " + k + "\n", how + first).text;
    parts += answers(tmp_, "Who says so?\n", how + "--load " + k + " --save " + k).text;
    parts += answers(tmp_, "/load " + k + "\nWhen?\n", how).text;
    EXPECT_EQ(parts, whole) << cache;
    EXPECT_EQ(std::count(whole.begin(), whole.end(), '\n'), 3) << whole;
  }
  EXPECT_THAT(must("inspect --check " + k),
              AllOf(HasSubstr("session of a live cache"), HasSubstr("window 16; 512 tokens are"),
                    HasSubstr("every part is sound")));
  refused("run" + m_ + "-n 1 --load " + k, 2, "is of a live cache: give its codec as --cache");
  refused("run" + m_ + "-n 1 --window 17 --cache " + *made / "live.gguf" + " --load " + k, 2,
          "was made with --window 16");
}

// Generated models have no answers to tell apart, but are quick.
class OnAGeneratedModel : public ::testing::Test {
 protected:
  OnAGeneratedModel() {
    TinyOptions options;
    options.context = 2048;
    make(options, "m.gguf", "{{ '<|im_start|>' }}");
    fit("m.gguf", "live.gguf");
  }
  void make(const TinyOptions& options, const std::string& name, const std::string& chat) {
    TinyModel model(options);
    if (!chat.empty()) model.file.set_text("tokenizer.chat_template", chat);
    model.save(tmp_ / name);
  }
  void fit(const std::string& model, const std::string& codec) {
    must("extract -m " + tmp_ / model + " -f " + sample("fiction") + " -n 512 --no-queries -o " +
         tmp_ / "dump.gguf");
    must("fit " + tmp_ / "dump.gguf" + kWidths + tmp_ / codec);
  }

  Folder tmp_;
  const std::string m_ = " -m " + tmp_ / "m.gguf" + kGreedy + "--ignore-end";
  const std::string live_ = m_ + " --cache " + tmp_ / "live.gguf" + " --window 16";
  const std::string few_ = " -n 9";  // tokens of an answer
};

TEST_F(OnAGeneratedModel, CommandsSayWhatTheyDo) {
  const std::string lines = "/help\nab \\\n" + std::string(400, 'c') +
                            "\n/stats\n/what is it\n/save\n/load\n/load " + tmp_ / "none" +
                            "\n/clear\n/stats\n\n/exit\nnot read";
  const Outcome said = remarks(tmp_, lines, live_ + few_);
  EXPECT_EQ(said.code, 1);
  EXPECT_THAT(said.text,
              AllOf(HasSubstr("/save [FILE]"),
                    HasSubstr("/what is no command; legal: /save [FILE], "
                              "/load FILE, /stats, /clear, /help, /exit"),
                    HasSubstr("name a file: /save FILE"), HasSubstr("name a file: /load FILE"),
                    HasSubstr("cannot open"), HasSubstr("\n256 tokens are coded, in "),
                    HasSubstr("\n0 tokens; room for 2048 more"),
                    EndsWith("4 lines could not be done, or not all of it\n")));
  const Outcome fine = remarks(tmp_, "a\n/stats\n", m_ + few_);
  EXPECT_EQ(fine.code, 0);
  EXPECT_THAT(fine.text, AllOf(HasSubstr("16 bits a value"), HasSubstr("f16 would take")));
  // A message of two lines is one message.
  const auto tokens = [&](const std::string& message) {
    const std::string text = remarks(tmp_, message + "\n/stats\n", m_ + few_).text;
    return std::stoi(text);
  };
  EXPECT_EQ(tokens("ab\\\ncd"), tokens("ab\\\nc") + 1);
  // Nothing but answers on the standard output, which the prompt adds to if not --quiet.
  const std::string quiet = answers(tmp_, "a\n/stats\nb", m_ + few_).text;
  EXPECT_THAT(quiet, Not(HasSubstr("> ")));
  const std::string open = " -m " + tmp_ / "m.gguf" + " --temp 0 --threads 1 -n 5 --ignore-end";
  EXPECT_THAT(answers(tmp_, "a\n/stats\nb", open).text, StartsWith("> "));
  EXPECT_THAT(remarks(tmp_, "a\n", open).text, HasSubstr("/help shows what can be done"));
}

TEST_F(OnAGeneratedModel, TemplatesAreRefusedByName) {
  const std::string cnv = "run -cnv </dev/null --threads 1 -m ";
  make({}, "none.gguf", "");
  refused(cnv + tmp_ / "none.gguf", 1, "none.gguf has no chat template; --chat-template takes:");
  make({}, "odd.gguf", "{% for m in messages %}@{{ m }}{% endfor %}");
  refused(cnv + tmp_ / "odd.gguf", 1,
          "odd.gguf, which begins '{% for m in messages %}@{{ m }}{% endfor'; --chat-template");
  refused(cnv + tmp_ / "odd.gguf --chat-template odd", 2, "chatml, command-r");
  must(cnv + tmp_ / "odd.gguf --chat-template chatml");
  refused(cnv + tmp_ / "m.gguf --no-special", 2, "the markers of its chat template");
  refused("run -m " + tmp_ / "m.gguf -p a -sys b", 2, "are of a conversation (-cnv)");
}

TEST_F(OnAGeneratedModel, MemoryIsALimitThatIsSaid) {
  refused("run -p a --memory 2G" + m_, 2, "--memory is of a live cache");
  refused("run -p a --memory much" + live_, 2, "'much' is no size");
  const std::string little = run("run -p a --memory 100K" + live_).text;
  EXPECT_THAT(little,
              AllOf(HasSubstr("--memory 100K: this cache needs "), HasSubstr("2048 tokens take ")));
  // 787 tokens, the least: 4 + 16 + 255 + 256 + 256.
  const std::string at = "needs ";
  const double least = std::stod(little.substr(little.find(at) + at.size()));
  ASSERT_THAT(little, HasSubstr("KiB at least"));
  const std::string enough = " --memory " + std::to_string(int(least) + 1) + "K";
  refused("run -p a --memory " + std::to_string(int(least) - 1) + "K" + live_, 2, "at least");
  const std::string full = run("run -p a" + live_ + enough + " -n 2000").text;
  EXPECT_THAT(full, HasSubstr(enough.substr(1) + " is full: the text ends here."));
  spill(tmp_ / "long", std::string(900, 'a'));
  refused("run -f " + tmp_ / "long" + live_ + enough, 2, "holds no more than");
  // In a conversation: what does not fit is not taken, and nothing is lost.
  const std::string message(300, 'b');
  const Outcome talk = remarks(tmp_, message + "\n" + message + "\n" + message + "\n/stats\n",
                               live_ + enough + few_);
  EXPECT_EQ(talk.code, 1);
  EXPECT_THAT(talk.text, AllOf(HasSubstr("this message is not taken. Nothing was dropped"),
                               HasSubstr("1 line could not be done")));
  const std::string both = remarks(tmp_, "",
                                   " -m " + tmp_ / "m.gguf" + " --cache " +
                                       tmp_ / "live.gguf --window 16 -c 800" + enough + few_)
                               .text;
  EXPECT_THAT(both, HasSubstr("of --memory and --ctx-size"));
}

TEST_F(OnAGeneratedModel, ADamagedLiveCacheIsRefusedAndNothingIsLost) {
  const std::string k = tmp_ / "k.kvz", bad = tmp_ / "bad.kvz", message(400, 'c');
  ASSERT_EQ(answers(tmp_, message + "\n" + message, live_ + few_ + " --save " + k).code, 0);
  const std::string sound = slurp(k);
  const auto talk = [&](const std::string& between) {
    return answers(tmp_, message + "\n" + between + "d\n", live_ + few_ + " --load " + k).text;
  };
  const std::string wanted = talk("");
  for (const size_t at :
       {size_t{0}, size_t{20}, size_t{40}, sound.size() / 50, sound.size() / 3, sound.size() - 3}) {
    std::string damaged = sound;
    damaged[at] ^= 4;
    spill(bad, damaged);
    EXPECT_EQ(run("run -p a" + live_ + " --load " + bad).code, 1) << at;
    EXPECT_EQ(talk("/load " + bad + "\n"), wanted) << at;
  }
  spill(bad, sound.substr(0, sound.size() - 1));
  refused("run -p a" + live_ + " --load " + bad, 1, "bytes; by its header it has");
  refused("inspect " + bad, 1, "bytes; by its header it has");
  // A failed save leaves what was there.
  EXPECT_EQ(answers(tmp_, "e\n/save " + tmp_ / "no/such\n", live_ + few_).code, 1);
  EXPECT_EQ(slurp(k), sound);
  EXPECT_EQ(talk(""), wanted);
  // Another codec, another model.
  must("fit " + tmp_ / "dump.gguf --codec 'k: rotate|klt|widths; v: klt|widths' -o " +
       tmp_ / "other.gguf");
  refused("run -p a" + m_ + " --cache " + tmp_ / "other.gguf --load " + k, 1,
          "was made with the live codec");
  TinyOptions options;
  options.seed = 2;
  make(options, "m2.gguf", "");
  fit("m2.gguf", "live2.gguf");
  refused("run -p a -m " + tmp_ / "m2.gguf --cache " + tmp_ / "live2.gguf --load " + k, 1,
          "was made with model");
  refused("run -p a -m " + tmp_ / "m2.gguf --cache " + tmp_ / "live.gguf", 2,
          "the live codec is of model");
  refused("run" + live_ + " -p a --lossless --save " + k, 2, "a live cache is saved as it is");
}

TEST_F(OnAGeneratedModel, OneTextGoesOnLive) {
  spill(tmp_ / "long", std::string(700, 'f'));
  const std::string k = tmp_ / "k.kvz";
  const std::string whole = must("run -f " + tmp_ / "long" + live_ + " -n 20");
  std::string parts = must("run -f " + tmp_ / "long" + live_ + " -n 8 --save " + k);
  parts.pop_back();
  parts += must("run --load " + k + live_ + " -n 12 --save " + k);
  EXPECT_EQ(parts, whole);
  must("run -p a -m " + tmp_ / "m.gguf" + kGreedy + "-n 1 --lossless --save " + tmp_ / "own.kvz");
  refused("run -p a" + live_ + " --load " + tmp_ / "own.kvz", 2, "is of llama.cpp's own cache");
  EXPECT_THAT(must("inspect " + k), HasSubstr("1 pending tokens"));
}

// The shell waits for the answer's first letters, stops it, and stops the program at the prompt.
TEST_F(OnAGeneratedModel, CtrlCStopsTheAnswerThenTheConversation) {
  spill(tmp_ / "talk",
        "cd " + tmp_ / "" + "\nmkfifo in\n" + std::string(KVSPLICE_BINARY) +
            " run -cnv -m m.gguf --temp 0 --threads 1 --quiet --ignore-end --lossless --save k.kvz "
            "<in >out 2>err &\nexec 3>in\n"
            "echo a >&3\nuntil [ -s out ]; do sleep .02; done\nkill -INT $!\n"
            "until [ \"$(tail -c 1 out | wc -l)\" = 1 ]; do sleep .02; done\n"
            "echo /stats >&3\nuntil [ -s err ]; do sleep .02; done\n"
            "kill -INT $!\nwait $!\necho code $?\n");
  const Outcome talk = shell("timeout 60 sh " + tmp_ / "talk");
  EXPECT_EQ(talk.text, "code 130\n") << slurp(tmp_ / "err");
  EXPECT_THAT(must("inspect " + tmp_ / "k.kvz"), HasSubstr("session"));
  EXPECT_LT(slurp(tmp_ / "out").size(), 8000u);
}

}  // namespace
}  // namespace kvsplice::cli
