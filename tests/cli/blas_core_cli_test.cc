// The program starts itself again where OpenBLAS chose kernels of an older kind than the processor.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "program.h"
#include "report/machine.h"
#include "solve/blas_core.h"

namespace kvsplice::cli {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

// This process was corrected in the same way, by tests/test_main.cc.
TEST(BlasCoreOfTheProgram, IsTheBestThereIs) {
  EXPECT_THAT(run("--version").text, HasSubstr("OpenBLAS " + blas_core().text() + "\n"));
}

TEST(BlasCoreOfTheProgram, IsTheUsersIfNamed) {
  const Outcome outcome =
      shell("OPENBLAS_CORETYPE=Nehalem " + std::string(KVSPLICE_BINARY) + " --version");
  EXPECT_EQ(outcome.code, 0);
  EXPECT_THAT(outcome.text, HasSubstr("(OPENBLAS_CORETYPE)\n"));
}

TEST(BlasCoreOfTheProgram, ManifestsNameIt) {
  Folder tmp;
  ASSERT_EQ(run("extract --synthetic -n 256 -o " + (tmp / "d.gguf")).code, 0);
  ASSERT_EQ(run("analyse " + (tmp / "d.gguf") + " -o " + (tmp / "out")).code, 0);
  EXPECT_THAT(slurp(tmp / "out/manifest.json"), HasSubstr("\"openblas\": \"" + blas_core().text()));
}

// What it starts sees the environment that it was given, and OpenMP's binding of threads, which
// ties the first of them to one core, does not leave only that core to the second start.
TEST(BlasCoreOfTheProgram, IsAllThatTheSecondStartChanges) {
  Folder tmp;
  const std::string python = tmp / "a python";
  spill(python, "#!/bin/sh\nenv >'" + (tmp / "seen") + "'\n");
  std::filesystem::permissions(python, std::filesystem::perms::owner_all);
  const Outcome bench = shell("OMP_PROC_BIND=true " + std::string(KVSPLICE_BINARY) +
                              " bench --only hadamard --python '" + python + "'");
  ASSERT_EQ(bench.code, 0) << bench.text;
  EXPECT_THAT(bench.text, HasSubstr(std::to_string(report::this_machine().cores) + " threads"));
  EXPECT_THAT(slurp(tmp / "seen"), HasSubstr("OMP_PROC_BIND=true"));
  EXPECT_THAT(slurp(tmp / "seen"), Not(HasSubstr("OPENBLAS_CORETYPE")));
  EXPECT_THAT(slurp(tmp / "seen"), Not(HasSubstr("KVSPLICE_BLAS_CORE_WAS")));
}

TEST(BlasCoreOfTheProgram, StaysWithAWordWhereTheProgramCannotStartAgain) {
  const std::string binary = KVSPLICE_BINARY;
  const Outcome loaded =
      shell("$(ldd " + binary + " | grep -o '/[^ ]*/ld-[^ ]*') " + binary + " --version");
  EXPECT_EQ(loaded.code, 0) << loaded.text;
  if (blas_core().corrected.empty()) return;
  EXPECT_THAT(loaded.text, HasSubstr("in the environment corrects that"));
  EXPECT_THAT(loaded.text, HasSubstr("OpenBLAS " + blas_core().corrected + "\n"));
}

}  // namespace
}  // namespace kvsplice::cli
