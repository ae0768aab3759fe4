// Too little memory: the program says so and ends, whatever it was about to do.
#include <gmock/gmock.h>

#include "program.h"

namespace kvsplice::cli {
namespace {

using ::testing::HasSubstr;

// Addresses are limited, in megabytes, because OpenBLAS and threads take many of them.
Outcome run_within(int megabytes, int seconds, const std::string& arguments) {
  return shell("ulimit -v " + std::to_string(megabytes * 1000) + "; timeout -k 5 " +
               std::to_string(seconds) + " " + KVSPLICE_BINARY + " " + arguments);
}

TEST(Memory, TooLittleIsAnErrorAtEveryLimit) {
  const Folder folder;
  must("extract -m " + kModel + " -f " + sample("fiction") + " -n 64 --no-queries -o " +
       folder / "dump.gguf");
  must("fit " + folder / "dump.gguf" + " -m " + kModel + " --codec " +
       "'layers(history=1) | klt(stored=packed) | step(recall=64) | range' -o " +
       folder / "codec.gguf");
  must("pack -m " + kModel + " -f " + sample("news") + " -n 200 --codec " + folder / "codec.gguf" +
       " -o " + folder / "s.kvz");
  const std::string unpack = "unpack " + folder / "s.kvz" + " -m " + kModel + " --codec " +
                             folder / "codec.gguf" + " --threads 2 -o " + folder / "s.state";
  int least = 400;  // with which libraries can be loaded
  while (run_within(least, 60, "--version").code != 0) {
    ASSERT_LT(least, 30000);
    least += least / 4;
  }
  int refused = 0;
  for (int megabytes = least; megabytes < 40000; megabytes += least / 8) {
    const Outcome outcome = run_within(megabytes, 60, unpack);
    if (outcome.code == 0) {
      EXPECT_GT(refused, 0);
      return;
    }
    ++refused;
    EXPECT_EQ(outcome.code, 1) << megabytes << " MB: " << outcome.text;
    // The OpenMP of llama.cpp ends the process by itself, in its own words and lines.
    if (outcome.text.find("libgomp: Thread creation failed") != std::string::npos) continue;
    EXPECT_THAT(outcome.text, HasSubstr("out of memory")) << megabytes << " MB";
    EXPECT_EQ(std::count(outcome.text.begin(), outcome.text.end(), '\n'), 1) << outcome.text;
  }
  ADD_FAILURE() << "no limit was enough";
}

// OpenBLAS, while it is loaded, asks for what it cannot get again and again.
TEST(Memory, TooLittleForLoadingIsSaid) {
  const Outcome outcome = run_within(200, 100, "--version");
  EXPECT_EQ(outcome.code, 1);
  EXPECT_THAT(outcome.text, HasSubstr("OpenBLAS finds no address space"));
  EXPECT_EQ(std::count(outcome.text.begin(), outcome.text.end(), '\n'), 1) << outcome.text;
}

}  // namespace
}  // namespace kvsplice::cli
