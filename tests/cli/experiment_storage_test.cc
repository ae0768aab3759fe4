// kvsplice experiment storage on the small model, with very little of everything: what it writes,
// what must hold of any measurement, that it goes on where it stopped, and what it refuses.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "program.h"

namespace kvsplice::cli {
namespace {

using ::testing::HasSubstr;
using Json = nlohmann::json;

Json table(const std::string& dir, const std::string& name) {
  return Json::parse(slurp(dir + "/" + name + ".json"));
}

Json row(const Json& table, const std::string& key, const Json& value) {
  for (const Json& r : table) {
    if (r[key] == value) return r;
  }
  ADD_FAILURE() << "no row with " << key << " = " << value;
  return Json::object();
}

std::string command(const std::string& dir) {
  return "experiment storage --quick -m " KVSPLICE_TEST_MODEL
         " --codec 'layers(history=1,embedding=off) | klt(stored=packed) | "
         "step(delta=0.6) | range' "
         "--calibration 768 --sequence 128 --ctx 128 --methods klt,svd --retrieval-tokens 256 "
         "--retrieval-questions 1 --greedy-prompts 1 --greedy-prefix 96 --greedy-tokens 4 --text " +
         sample("fiction") + "," + sample("code") + " --test-text " + sample("news") + " -o " + dir;
}

TEST(ExperimentStorage, RestoresPromptsInLiveCaches) {
  Folder tmp;
  const std::string dir = tmp / "r", live = tmp / "small.gguf";
  ASSERT_EQ(run("calibrate -m " KVSPLICE_TEST_MODEL " -f " + sample("fiction") +
                " --codec 'k: rotate|klt|widths(delta=0.5); v: klt|widths(delta=0.5)' --tokens 768 "
                "--sequence 256 -o " +
                live)
                .code,
            0);
  const Outcome study =
      run("experiment storage -m " KVSPLICE_TEST_MODEL
          " --parts retrieval,greedy --methods none --factors none "
          "--retrieval-tokens 700 --retrieval-questions 1 --greedy-prompts 1 "
          "--greedy-prefix 700 --greedy-tokens 4 --text " +
          sample("code") + " --test-text " + sample("news") + " --live " + live + " -o " + dir);
  ASSERT_EQ(study.code, 0) << study.text;
  for (const char* name : {"retrieval", "greedy"}) {
    const Json all = table(dir, name);
    const Json own = row(all, "cache", "live small");
    EXPECT_GT(own["ratio"], 1.2) << name;  // 256 tokens are coded
    EXPECT_LT(own["ratio"], 3) << name;
    EXPECT_LT(own["log_prob"], 0) << name;
    EXPECT_NE(own["log_prob"], row(all, "cache", "q8_0")["log_prob"]) << name;
  }
}

TEST(ExperimentStorage, MeasuresEveryPartAndGoesOnWhereItStopped) {
  Folder tmp;
  const std::string dir = tmp / "r";
  const Outcome study = run(command(dir));
  ASSERT_EQ(study.code, 0) << study.text;
  for (const char* name : {"rate_curves.svg", "prompts.svg", "calibration_size.svg", "rates.csv",
                           "retrieval.csv", "greedy.csv", "calibration.csv"}) {
    EXPECT_TRUE(std::filesystem::exists(dir + "/" + name)) << name;
  }

  const Json rates = table(dir, "rates");
  EXPECT_EQ(rates.size(), 1u + 4 + 1 + 2 + 3);  // f16; llama.cpp and floor; klt; codec; svd
  const auto kld = [&](const char* cache) {
    return row(rates, "cache", cache)["kld_mean"].get<double>();
  };
  EXPECT_EQ(kld("f16"), 0);
  EXPECT_GT(kld("floor"), 0);
  EXPECT_LT(kld("q8_0"), kld("q4_0"));
  EXPECT_LT(kld("codec x0.75"), kld("codec x1.7"));
  EXPECT_LT(kld("svd(ratio=2)"), kld("svd(ratio=8)"));
  const Json codec = row(rates, "cache", "codec x1.7");
  EXPECT_GT(codec["ratio"], row(rates, "cache", "codec x0.75")["ratio"]);
  EXPECT_GT(codec["codec_file_bytes"], 100000);
  // The file is paid back where what a token saves has grown to it: 23,040 bytes are f16.
  const double saved = 23040 * (1 - 1 / codec["ratio"].get<double>());
  EXPECT_NEAR(codec["paid_back_tokens"], codec["codec_file_bytes"].get<double>() / saved, 1);
  for (const Json& goal : table(dir, "goals")) {
    if (goal["reached"] == "no") {
      EXPECT_TRUE(goal["ratio"].is_null()) << goal;
    } else {
      EXPECT_GT(goal["ratio"], 1) << goal;
    }
  }
  const Json lengths = table(dir, "lengths");
  EXPECT_EQ(lengths.size(), 2u * 5);
  EXPECT_NEAR(lengths.back()["ratio_window_0"], codec["ratio"],
              0.01 * codec["ratio"].get<double>());

  for (const char* cache : {"f16", "f16 detour"}) {
    const Json retrieval = row(table(dir, "retrieval"), "cache", cache);
    EXPECT_NEAR(retrieval["ratio"], 1, 1e-3) << cache;
    EXPECT_GT(retrieval["token_percent"], 0) << cache;
    EXPECT_LT(retrieval["log_prob"], 0) << cache;
  }
  for (const Json& greedy : table(dir, "greedy")) {
    EXPECT_EQ(greedy["tokens"], 4) << greedy;
    EXPECT_LE(greedy["same_until"], 4) << greedy;
  }
  const Json calibration = table(dir, "calibration");
  ASSERT_EQ(calibration.size(), 4u);  // half, all, and two texts alone
  EXPECT_EQ(calibration[1]["fitted_on"], "all");
  EXPECT_EQ(calibration[2]["fitted_on"], "only fiction");
  EXPECT_EQ(calibration[1]["fitted_tokens"], 6 * 124);
  EXPECT_EQ(calibration[2]["fitted_tokens"], 3 * 124);

  // The journals serve another run; the second comes to the same tables.
  const std::string journal = slurp(dir + "/rates.jsonl"), csv = slurp(dir + "/rates.csv");
  std::filesystem::remove_all(dir + "/codecs");
  std::filesystem::remove_all(dir + "/rows");
  ASSERT_EQ(run(command(dir)).code, 0);
  EXPECT_EQ(slurp(dir + "/rates.jsonl"), journal);
  EXPECT_EQ(slurp(dir + "/rates.csv"), csv);
  EXPECT_FALSE(std::filesystem::exists(dir + "/codecs"));  // nothing was fitted again
  EXPECT_FALSE(std::filesystem::exists(dir + "/rows"));
}

TEST(ExperimentStorage, RefusesWhatItDoesNotKnow) {
  Folder tmp;
  const auto refused = [&](const std::string& options, const char* why) {
    const Outcome outcome = run("experiment storage " + options + " -o " + (tmp / "r"));
    EXPECT_NE(outcome.code, 0) << options;
    EXPECT_THAT(outcome.text, HasSubstr(why)) << options;
  };
  refused("", "needs a model");
  refused("--parts speed", "legal: all, or some of rates,retrieval,greedy,calibration");
  refused("--methods dct", "legal: all, or some of klt,");
  refused("--factors 1,two", "0.001 ... 1000");
  refused("--codec 'klt | step'", "a stage 'layers'");
  const std::string news = " --test-text " + sample("news") + " --text " + sample("code");
  refused("-m " KVSPLICE_TEST_MODEL " --ctx 8192" + news, "this study needs 8192");
}

}  // namespace
}  // namespace kvsplice::cli
