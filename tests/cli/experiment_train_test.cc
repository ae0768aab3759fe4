// kvsplice experiment train with very little of everything: what it writes, what must hold of any
// measurement, that it goes on where it stopped, and what it refuses.
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

std::string command(const std::string& dir, const std::string& more = "") {
  return "experiment train --quick -m " KVSPLICE_TEST_MODEL
         " --vocabulary 300 --width 64 --heads 2 --hidden 64 --length 96 --steps 30 --seeds 2 "
         "--deltas 0.2,1.6 --calibration 1024 --test-tokens 1024 --loop-calibration 1024 "
         "--variants latent_8th,normed,spline,rate,converted_4th --text " +
         sample("fiction") + "," + sample("technical") + " --test-text " + sample("news") + " -o " +
         dir + more;
}

TEST(ExperimentTrain, TrainsJudgesAndGoesOnWhereItStopped) {
  Folder tmp;
  const std::string dir = tmp / "r";
  const Outcome study = run(command(dir));
  ASSERT_EQ(study.code, 0) << study.text;
  for (const char* name : {"rates.svg", "ablation.svg", "points.csv", "equal_bytes.csv"}) {
    EXPECT_TRUE(std::filesystem::exists(dir + "/" + name)) << name;
  }
  EXPECT_EQ(table(dir, "trainings").size(), 2u * 6);  // full, too

  const Json points = table(dir, "points");
  ASSERT_EQ(points.size(), 2u * 6 * 6);  // choice and news
  const auto point = [&](const char* variant, const char* store) {
    for (const Json& p : points) {
      if (p["text"] == "news" && p["variant"] == variant && p["store"] == store) return p;
    }
    ADD_FAILURE() << variant << " " << store;
    return Json();
  };
  const auto nats = [&](const char* variant, const char* store) {
    return point(variant, store)["nats_per_byte"].get<double>();
  };
  // Two layers of 128 numbers; an eighth of them; blocks of 32 with their scales, or of 16.
  EXPECT_EQ(point("full", "f16")["bytes_per_token"], 512);
  EXPECT_EQ(point("latent_8th", "f16")["bytes_per_token"], 64);
  EXPECT_EQ(point("full", "q8_0")["bytes_per_token"], 272);
  EXPECT_EQ(point("full", "q4_0")["bytes_per_token"], 144);
  EXPECT_EQ(point("spline", "q4_0")["bytes_per_token"], 20);
  for (const char* variant : {"full", "latent_8th", "spline", "rate"}) {
    EXPECT_NEAR(nats(variant, "q8_0"), nats(variant, "f16"), 1e-3) << variant;
    EXPECT_NE(nats(variant, "q8_0"), nats(variant, "f16")) << variant;
    EXPECT_LT(point(variant, "klt x1.6")["bytes_per_token"],
              point(variant, "klt x0.2")["bytes_per_token"])
        << variant;
    EXPECT_NEAR(nats(variant, "klt x0.2"), nats(variant, "f16"), 2e-2) << variant;
    EXPECT_GT(nats(variant, "none"), nats(variant, "f16")) << variant;
    EXPECT_GT(nats(variant, "f16"), 1) << variant;    // an order of nothing is 2.2 nats
    EXPECT_LT(nats(variant, "f16"), 3.6) << variant;  // ln 300 over 1.6 bytes a token
  }

  // llama.cpp agrees to four digits: its f16 cache against our floats.
  const Json loop = table(dir, "llama_cpp");
  ASSERT_EQ(loop.size(), 4u * 4);  // of one seed, without warps
  for (const Json& l : loop) {
    if (l["cache"] == "f16") {
      EXPECT_NEAR(l["nats_per_token"], l["own_nats_per_token"], 2e-4) << l;
      EXPECT_EQ(l["bytes_per_token"], 512) << l;
    } else {
      EXPECT_GT(l["kld"], 0) << l;
      EXPECT_LT(l["bytes_per_token"], 300) << l;
    }
  }

  for (const Json& b : table(dir, "equal_bytes")) {
    const bool itself = b["variant"] == "full" && !b["to_full"].is_null();
    if (itself) {
      EXPECT_EQ(b["to_full"], 0) << b;
    }
  }

  // What was done is not done again; what is lost is.
  const std::string journal = slurp(dir + "/points.jsonl"), csv = slurp(dir + "/points.csv");
  std::filesystem::remove_all(dir + "/weights");
  ASSERT_EQ(run(command(dir)).code, 0);
  EXPECT_EQ(slurp(dir + "/points.jsonl"), journal);
  EXPECT_EQ(slurp(dir + "/points.csv"), csv);
  EXPECT_FALSE(std::filesystem::exists(dir + "/weights"));  // nothing was trained again
  std::filesystem::remove(dir + "/points.jsonl");
  ASSERT_EQ(run(command(dir, " --threads 1")).code, 0);
  EXPECT_EQ(slurp(dir + "/points.csv"), csv);  // the same models, the same losses
}

TEST(ExperimentTrain, RefusesWhatItDoesNotKnow) {
  Folder tmp;
  const auto refuse = [&](const std::string& options, const char* why) {
    const Outcome outcome = run("experiment train --quick " + options + " -o " + (tmp / "r"));
    EXPECT_EQ(outcome.code, 2) << options << "\n" << outcome.text;
    EXPECT_THAT(outcome.text, HasSubstr(why)) << options;
  };
  const std::string model = "-m " KVSPLICE_TEST_MODEL " ";
  refuse("", "needs a model");
  refuse(model + "--variants mla", "legal: full,latent_4th,");
  refuse(model + "--recipe gpt2", "llama, seed");
  refuse(model + "--heads 3", "multiples of 96");
  refuse(model + "--deltas 1,none", "0.001 ... 1000");
  refuse(model + "--text " + sample("news") + " --test-text " + sample("news"), "trained on");
}

}  // namespace
}  // namespace kvsplice::cli
