// kvsplice bench, with a Python that only pretends, and the page of its results.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <vector>

#include "host/tiny_model_test.h"
#include "program.h"

namespace kvsplice::cli {
namespace {

using ::testing::ContainsRegex;
using ::testing::HasSubstr;

// The table has no commas or quotes inside cells.
std::vector<std::vector<std::string>> rows_of(const std::string& csv) {
  std::vector<std::vector<std::string>> rows;
  std::istringstream lines(csv);
  for (std::string line; std::getline(lines, line);) {
    std::istringstream cells(line + ",");
    rows.emplace_back();
    for (std::string cell; std::getline(cells, cell, ',');) rows.back().push_back(cell);
  }
  return rows;
}

TEST(Bench, PutsPeersAndLimitsBesideOurTimes) {
  Folder tmp;
  const std::string python = tmp / "python";
  spill(python,
        "#!/bin/sh\n"
        "echo noise\n"
        "echo '{\"peer\": \"other\", \"ms\": 1000}'\n"
        "echo '{\"missing\": \"torch\"}'\n");
  std::filesystem::permissions(python, std::filesystem::perms::owner_all);
  const Outcome bench =
      run("bench --only hadamard --python " + python + " -o " + (tmp / "results"));
  ASSERT_EQ(bench.code, 0) << bench.text;
  EXPECT_THAT(bench.text, HasSubstr("\"torch\" is not installed"));
  EXPECT_THAT(bench.text, HasSubstr("GB/s"));

  const auto rows = rows_of(slurp(tmp / "results/bench.csv"));
  ASSERT_EQ(rows.size(), 3u);
  EXPECT_EQ(rows[0], (std::vector<std::string>{"name", "case", "ours_ms", "limit_ms",
                                               "fraction_of_limit", "peer", "peer_ms", "ratio"}));
  for (size_t i = 1; i < rows.size(); ++i) {
    ASSERT_EQ(rows[i].size(), 8u);
    EXPECT_EQ(rows[i][0], "hadamard");
    const double ours = std::stod(rows[i][2]), limit = std::stod(rows[i][3]);
    EXPECT_GT(ours, 0);
    EXPECT_GT(limit, 0);
    EXPECT_DOUBLE_EQ(std::stod(rows[i][4]), limit / ours);
    EXPECT_EQ(rows[i][5], "other");
    EXPECT_EQ(rows[i][6], "1000");
    EXPECT_DOUBLE_EQ(std::stod(rows[i][7]), 1000 / ours);
  }

  const Outcome report = run("report " + (tmp / "results") + " -o " + (tmp / "page.html"));
  EXPECT_EQ(report.code, 0) << report.text;
  EXPECT_THAT(slurp(tmp / "page.html"), HasSubstr("read_gb_per_s"));
}

TEST(Bench, WorksWithoutPeers) {
  const Outcome bench = run("bench --only hadamard --python no-such-python");
  EXPECT_EQ(bench.code, 0);
  EXPECT_THAT(bench.text, HasSubstr("peers are left out: cannot run no-such-python"));
}

TEST(Bench, WhatNeedsAModelSaysSo) {
  for (const std::string name : {"capture", "restore", "live"}) {
    const Outcome bench = run("bench --only " + name);
    EXPECT_EQ(bench.code, 0);
    EXPECT_THAT(bench.text, HasSubstr(name + " is left out: it needs a model (-m)"));
    EXPECT_EQ(run("bench --only " + name + " -m no-such-model.gguf").code, 1);
  }
}

TEST(Bench, RestoresWithTheDefaultCodec) {
  Folder tmp;
  kvsplice::testing::TinyOptions options;
  options.context = 1024;
  kvsplice::testing::TinyModel(options).save(tmp / "m.gguf");
  const Outcome bench = run("bench --only restore -m " + (tmp / "m.gguf"));
  ASSERT_EQ(bench.code, 0) << bench.text;
  for (const char* way : {"restore", "pack"}) {
    EXPECT_THAT(bench.text, ContainsRegex(std::string("restore +1024 tokens, [0-9.]+ MB, ") + way +
                                          " +[0-9.]+ .*llama.cpp evaluates the prompt"));
  }
  options.context = 1000;
  kvsplice::testing::TinyModel(options).save(tmp / "short.gguf");
  const Outcome none = run("bench --only restore -m " + (tmp / "short.gguf"));
  EXPECT_EQ(none.code, 0);
  EXPECT_THAT(none.text, HasSubstr("it needs a model for 1024 tokens"));
}

TEST(Bench, DecodesWithALiveCacheBesideThoseOfLlama) {
  Folder tmp;
  kvsplice::testing::TinyOptions options;
  options.context = 1024;
  kvsplice::testing::TinyModel(options).save(tmp / "m.gguf");
  const Outcome bench = run("bench --only live -m " + (tmp / "m.gguf"));
  ASSERT_EQ(bench.code, 0) << bench.text;
  for (const char* type : {"f16", "q8_0", "q4_0"}) {
    EXPECT_THAT(bench.text, ContainsRegex(std::string("live +at 512 tokens, .* decode .*"
                                                      "llama.cpp, ") +
                                          type));
  }
  EXPECT_THAT(bench.text, HasSubstr("live: 2048 tokens are left out"));
}

TEST(Bench, UnknownNamesAreWrongUsage) {
  const Outcome bench = run("bench --only frobnicate");
  EXPECT_EQ(bench.code, 2);
  EXPECT_THAT(bench.text, HasSubstr("'frobnicate'; there are: "));
  EXPECT_THAT(bench.text, HasSubstr("pca"));
}

}  // namespace
}  // namespace kvsplice::cli
