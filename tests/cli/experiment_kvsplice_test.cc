// kvsplice experiment kvsplice: the seed's figures, and what untrained warps must give.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <nlohmann/json.hpp>

#include "program.h"

namespace kvsplice::cli {
namespace {

using ::testing::HasSubstr;
using Json = nlohmann::json;

Json table(const Folder& folder, const std::string& name) {
  return Json::parse(slurp(folder / (name + ".json")));
}

// The first row whose `key` is `value`.
Json row(const Json& table, const std::string& key, const Json& value) {
  for (const Json& r : table) {
    if (r[key] == value) return r;
  }
  ADD_FAILURE() << "no row with " << key << " = " << value;
  return {};
}

// Two epochs instead of twenty: PCA is the reference's to its last digit; warps are near it.
TEST(ExperimentKvsplice, QuickGivesTheReferenceTable) {
  Folder out;
  const Outcome outcome = run("experiment kvsplice --quick -o " + (out / ""));
  ASSERT_EQ(outcome.code, 0) << outcome.text;
  const Json spline = table(out, "results_spline_pca"), flow = table(out, "results_affineflow_pca");
  const int reference[][2] = {{8, 1314}, {12, 826}, {16, 789}, {24, 733},
                              {32, 676}, {48, 561}, {64, 451}};  // k, MSE x 1e6
  for (const auto& [k, error] : reference) {
    const Json r = row(spline, "k", k);
    const double pca = r["test_mse_PCA"];
    EXPECT_EQ(std::lround(1e6 * pca), error) << "k = " << k;
    EXPECT_NEAR(r["test_mse_SplinePCA"], pca, 3e-6) << "k = " << k;
    EXPECT_NE(r["test_mse_SplinePCA"], pca) << "k = " << k;
    EXPECT_EQ(row(flow, "k", k)["test_mse_PCA"], pca);
  }
  const double curve = row(table(out, "numbers"), "method", "curve")["test_mse"];
  EXPECT_LE(curve, 0.0010);
  EXPECT_GE(curve, 0.00085);  // below the noise: measured on the wrong rows
  for (const Json& r : table(out, "own_ranks")) {
    EXPECT_LT(r["flow"], r["pca"]) << r;
    EXPECT_GT(r["flow"], r["floor"]) << r;
  }
  for (const char* figure : {"compression_comparison", "improvement_delta", "memory_reduction",
                             "architecture_diagram", "own_rank_errors"}) {
    for (const char* type : {".svg", ".png"}) {
      EXPECT_GT(slurp(out / (std::string(figure) + type)).size(), 1000u) << figure << type;
    }
  }
}

// The spline starts as a stretch of all columns, the flow as a permutation: PCA behind either loses
// what plain PCA loses, on made and on real rows.
TEST(ExperimentKvsplice, UntrainedWarpsChangeNothing) {
  Folder out;
  const Outcome outcome = run(
      "experiment kvsplice --quick --spline-epochs 0 --flow-epochs 0 --loop-flow-epochs 0 --tokens "
      "128 --layers 3 --loop-ctx 64 -m " +
      kModel + " --text " + sample("fiction") + "," + sample("technical") + " --test-text " +
      sample("news") + " -o " + (out / ""));
  ASSERT_EQ(outcome.code, 0) << outcome.text;
  EXPECT_FALSE(std::filesystem::exists(out / "dumps"));
  for (const Json& r : table(out, "results_spline_pca")) {
    EXPECT_NEAR(r["test_mse_SplinePCA"], r["test_mse_PCA"], 1e-8);
  }
  const Json caches = table(out, "caches");
  ASSERT_EQ(caches.size(), 3u * 2 * 3 * 3);  // signals, scopes, ranks, methods
  for (size_t i = 0; i < caches.size(); i += 3) {
    const double error = caches[i]["relative_error"], attention = caches[i]["attention_error"];
    EXPECT_GT(error, 0.05);
    EXPECT_LT(error, 1.5);
    EXPECT_GT(attention, 0.01);
    for (size_t warp : {1, 2}) {
      EXPECT_NEAR(caches[i + warp]["relative_error"], error, 1e-3 * error);
      EXPECT_NEAR(caches[i + warp]["attention_error"], attention, 1e-2 * attention);
    }
  }
  const Json ideas = table(out, "ideas");
  const double frozen = row(ideas, "method", "PCA, frozen")["relative_error"];
  EXPECT_NEAR(row(ideas, "method", "klt(rank=8)")["relative_error"], frozen, 1e-3 * frozen);
  const Json loop = table(out, "quality");
  EXPECT_NEAR(row(loop, "cache", "klt(rank=96)")["bits_per_value"], 8, 0.1);
  EXPECT_GT(row(loop, "cache", "klt(rank=96)")["kld_mean"], 0.001);
}

TEST(ExperimentKvsplice, ResultsDoNotDependOnThreads) {
  Folder one, two;
  const std::string rest =
      "experiment kvsplice --quick --spline-epochs 1 --flow-epochs 1 --seeds 1 -o ";
  setenv("OMP_NUM_THREADS", "1", 1);
  const Outcome first = run(rest + (one / ""));
  setenv("OMP_NUM_THREADS", "3", 1);
  const Outcome second = run(rest + (two / ""));
  unsetenv("OMP_NUM_THREADS");
  ASSERT_EQ(first.code, 0) << first.text;
  ASSERT_EQ(second.code, 0) << second.text;
  for (const char* name : {"seeds", "own_ranks", "numbers", "rates", "ideas", "memory"}) {
    EXPECT_EQ(table(one, name), table(two, name)) << name;
  }
}

TEST(ExperimentKvsplice, WrongOptionsAreNamed) {
  Folder out;
  const auto expect_failure = [&](const std::string& options, const std::string& says) {
    const Outcome outcome = run("experiment kvsplice -o " + (out / "r") + " " + options);
    EXPECT_EQ(outcome.code, 2) << options << "\n" << outcome.text;
    EXPECT_THAT(outcome.text, HasSubstr(says)) << options;
  };
  expect_failure("--k 8,0", "1 ... 128");
  expect_failure("--seeds many", "many");
  expect_failure("--regulariser strong", "reference, working");
  expect_failure("--frobnicate", "--frobnicate");
}

}  // namespace
}  // namespace kvsplice::cli
