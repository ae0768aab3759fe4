// kvsplice experiment nerf-attention on generated data, with few epochs: what it writes, that it
// goes on where it stopped, and what it refuses.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>

#include "program.h"

namespace kvsplice::cli {
namespace {

using ::testing::HasSubstr;

const std::string kStudy = "experiment nerf-attention --synthetic --quick --epochs 3 --tokens 128 ";

TEST(NerfAttention, WritesTablesFiguresAndFindings) {
  Folder tmp;
  const Outcome study = run(kStudy + "-o " + (tmp / "r"));
  ASSERT_EQ(study.code, 0) << study.text;
  for (const char* name :
       {"configs.csv", "means.csv", "svd.csv", "scaling_cosines.csv", "longer.csv", "sweep.csv",
        "latency_forward.csv", "latency_attention.csv", "closed_forms.csv", "final_summary.svg",
        "pareto.svg", "keys_vs_values.svg", "position_error.svg", "latency.svg", "scaling.svg",
        "layer_profile.svg", "siren_vs_svd.svg", "structure.svg", "analysis.json"}) {
    EXPECT_TRUE(std::filesystem::exists(tmp / ("r/" + std::string(name)))) << name;
  }
  EXPECT_THAT(slurp(tmp / "r/manifest.json"), HasSubstr("One vector rotated by its position"));
  // Three layers, one head, two kinds, two networks; and the header.
  const std::string sweep = slurp(tmp / "r/sweep.csv");
  EXPECT_EQ(std::count(sweep.begin(), sweep.end(), '\n'), 13);
  EXPECT_THAT(sweep, HasSubstr("L2_H0_value_medium"));
  const Outcome page = run("report " + (tmp / "r") + " -o " + (tmp / "page.html"));
  EXPECT_EQ(page.code, 0) << page.text;
}

TEST(NerfAttention, GoesOnWhereItStopped) {
  Folder tmp;
  const std::string command = kStudy + "--parts sweep -o " + (tmp / "r");
  ASSERT_EQ(run(command).code, 0);
  const std::string journal = slurp(tmp / "r/fits.jsonl"), sweep = slurp(tmp / "r/sweep.csv");
  ASSERT_EQ(run(command).code, 0);
  EXPECT_EQ(slurp(tmp / "r/fits.jsonl"), journal);  // nothing was fitted again
  EXPECT_EQ(slurp(tmp / "r/sweep.csv"), sweep);     // not even the seconds have changed

  // Stopped while it wrote: the last record is cut short and made again.
  spill(tmp / "r/fits.jsonl", journal.substr(0, journal.size() - 40));
  ASSERT_EQ(run(command).code, 0);
  const std::string mended = slurp(tmp / "r/fits.jsonl");
  const auto lines = [](const std::string& s) { return std::count(s.begin(), s.end(), '\n'); };
  EXPECT_EQ(lines(mended), lines(journal) + 1);
}

TEST(NerfAttention, ThreadsAndOrderChangeNoFit) {
  Folder tmp;
  const auto cosines = [&](const std::string& threads) {
    const std::string dir = tmp / threads;
    EXPECT_EQ(run(kStudy + "--parts profile --threads " + threads + " -o " + dir).code, 0);
    std::istringstream rows(slurp(dir + "/profile_fits.csv"));
    std::string all;
    for (std::string row; std::getline(rows, row);) all += row.substr(0, row.rfind(',')) + "\n";
    return all;  // but for the seconds, the last column
  };
  const std::string one = cosines("1");
  EXPECT_THAT(one, HasSubstr("L0_H0_key_medium"));
  EXPECT_EQ(cosines("3"), one);
}

TEST(NerfAttention, JudgesInTheLoop) {
  Folder tmp;
  const std::string texts = sample("fiction") + "," + sample("code");
  const std::string command = "experiment nerf-attention --quick -m " KVSPLICE_TEST_MODEL
                              " --text " +
                              texts + " --tokens 64 --loop-ctx 64 --parts loop -o " + (tmp / "r");
  const Outcome study = run(command);
  ASSERT_EQ(study.code, 0) << study.text;
  std::map<std::string, double> divergence;
  for (const auto& row : nlohmann::json::parse(slurp(tmp / "r/in_loop.json"))) {
    EXPECT_GT(row["ratio"].get<double>(), 0) << row;
    EXPECT_GE(row["kld_mean"].get<double>(), 0) << row;
    divergence[row["kind"].get<std::string>() + " " + row["method"].get<std::string>()] =
        row["kld_mean"];
  }
  EXPECT_EQ(divergence.size(), 20u);                // eleven ways, two of them for keys only
  EXPECT_GT(divergence["key SVD, ratio 8"], 1e-3);  // the loop did see computed rows
  EXPECT_LT(divergence["key SVD, ratio 2"], divergence["key constant mean"]);
  EXPECT_LT(divergence["value SVD, ratio 2"], divergence["value SVD, ratio 8"]);
  EXPECT_LT(divergence["key rotated mean"], divergence["key constant mean"]);

  const std::string journal = slurp(tmp / "r/in_loop.jsonl");
  ASSERT_EQ(run(command).code, 0);
  EXPECT_EQ(slurp(tmp / "r/in_loop.jsonl"), journal);  // nothing was judged again
}

TEST(NerfAttention, RefusesWhatItDoesNotKnow) {
  Folder tmp;
  const auto refused = [&](const std::string& options, const char* why) {
    const Outcome outcome = run("experiment nerf-attention " + options + " -o " + (tmp / "r"));
    EXPECT_NE(outcome.code, 0) << options;
    EXPECT_THAT(outcome.text, HasSubstr(why)) << options;
  };
  refused("--configs huge", "'huge' is not allowed; legal: all, or some of tiny,");
  refused("--configs tiny", "lacks medium");
  refused("--parts sweeps", "legal: all, or some of sweep,");
  refused("--tokens 1", "64 ...");
  refused("-m " + (tmp / "nowhere.gguf"), "nowhere.gguf");
}

}  // namespace
}  // namespace kvsplice::cli
