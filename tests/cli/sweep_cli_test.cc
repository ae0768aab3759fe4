// Studies and calibrations by several processes that mpirun starts on this machine: they come to
// what one process comes to, also when one of them is killed or stopped.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <csignal>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <thread>

#include "host/tiny_model_test.h"
#include "program.h"

namespace kvsplice::cli {
namespace {

using ::testing::HasSubstr;
using Json = nlohmann::json;
namespace fs = std::filesystem;

constexpr const char* kTimes[] = {"seconds", "milliseconds", "per_second", "us_per_token"};

bool is_time(const std::string& column) {
  return std::any_of(std::begin(kTimes), std::end(kTimes),
                     [&](const char* time) { return column.find(time) != std::string::npos; });
}

// All tables of a study by their names, without times.
std::map<std::string, Json> tables(const std::string& dir) {
  std::map<std::string, Json> all;
  for (const auto& file : fs::directory_iterator(dir)) {
    const std::string name = file.path().stem().string();
    if (file.path().extension() != ".json" || name == "manifest") continue;
    if (name.starts_with("latency")) continue;
    Json table = Json::parse(slurp(file.path().string()));
    for (Json& row : table) {
      std::vector<std::string> times;
      for (const auto& [column, value] : row.items()) {
        if (is_time(column)) times.push_back(column);
      }
      for (const auto& time : times) row.erase(time);
    }
    all[name] = table;
  }
  return all;
}

void expect_same_tables(const std::string& dir, const std::string& expected) {
  const auto got = tables(dir), wanted = tables(expected);
  EXPECT_FALSE(wanted.empty());
  EXPECT_EQ(got.size(), wanted.size());
  for (const auto& [name, table] : wanted) {
    ASSERT_TRUE(got.contains(name)) << name;
    EXPECT_EQ(got.at(name), table) << name;
  }
}

std::vector<std::string> keys(const std::string& journal) {
  std::vector<std::string> all;
  std::istringstream lines(slurp(journal));
  for (std::string line; std::getline(lines, line);) {
    const auto json = Json::parse(line, nullptr, false);
    if (json.is_object()) all.push_back(json["key"]);
  }
  return all;
}

void expect_each_once(const std::string& journal) {
  const auto all = keys(journal);
  EXPECT_EQ(std::set<std::string>(all.begin(), all.end()).size(), all.size()) << journal;
}

void expect_no_claims_left(const std::string& dir) {
  for (const auto& file : fs::recursive_directory_iterator(dir)) {
    EXPECT_FALSE(file.path().filename().string().starts_with(".kvs-")) << file.path();
  }
}

class Sweep : public ::testing::Test {
 protected:
  void SetUp() override {
    const Outcome starts = shell("mpirun --allow-run-as-root -n 1 true");
    if (starts.code != 0) {
      GTEST_SKIP() << "no Open MPI that starts processes (tools/setup.sh --tests brings it): "
                   << starts.text;
    }
    kvsplice::testing::TinyModel(kvsplice::testing::TinyOptions()).save(model_);
    spill(tmp_ / "start.sh", "echo $$ > " + tmp_ / "process.$OMPI_COMM_WORLD_RANK" + "\nexec " +
                                 KVSPLICE_BINARY + " \"$@\"\n");
  }

  // Each process says its number in a file.
  std::string started(int ranks, const std::string& arguments,
                      const std::string& options = "") const {
    return "mpirun --oversubscribe --allow-run-as-root --bind-to none " + options + " -n " +
           std::to_string(ranks) + " sh " + tmp_ / "start.sh" + " " + arguments;
  }
  Outcome mpirun(int ranks, const std::string& arguments) const {
    const Outcome outcome = shell(started(ranks, arguments));
    EXPECT_EQ(outcome.code, 0) << outcome.text;
    return outcome;
  }
  // The same, with a signal for one of them when `is_time_for_it`.
  Outcome mpirun_and_signal(int ranks, const std::string& arguments, const std::string& options,
                            int rank, int signal,
                            const std::function<bool()>& is_time_for_it) const {
    std::optional<Outcome> outcome;
    std::thread launcher([&] { outcome = shell(started(ranks, arguments, options)); });
    for (int i = 0; i < 12000 && !is_time_for_it(); ++i) {
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
    }
    EXPECT_TRUE(is_time_for_it());
    const std::string process = slurp(tmp_ / "process." + std::to_string(rank));
    EXPECT_EQ(::kill(std::stoi(process), signal), 0) << "it was done before";
    launcher.join();
    return *outcome;
  }

  Folder tmp_;
  const std::string model_ = tmp_ / "tiny.gguf", m_ = " -m " + model_ + " ";
};

TEST_F(Sweep, NetworksAreSharedAndFittedOnce) {
  const std::string study =
      "experiment nerf-attention --synthetic --quick --epochs 5 --tokens 128 --threads 1 -o ";
  must(study + tmp_ / "1");
  for (const int ranks : {2, 3}) {
    const std::string dir = tmp_ / std::to_string(ranks);
    const std::string told = mpirun(ranks, study + dir).text;
    for (int rank = 0; rank < ranks; ++rank) {
      EXPECT_THAT(told, HasSubstr("rank " + std::to_string(rank) + " of " + std::to_string(ranks) +
                                  ": did "));
    }
    expect_same_tables(dir, tmp_ / "1");
    EXPECT_EQ(keys(dir + "/fits.jsonl").size(), keys(tmp_ / "1/fits.jsonl").size());
    expect_each_once(dir + "/fits.jsonl");
    expect_no_claims_left(dir);
  }
}

TEST_F(Sweep, WarpsAndCachesAreShared) {
  const std::string study =
      "experiment kvsplice --quick --seeds 1 --spline-epochs 1 --flow-epochs 1 "
      "--loop-flow-epochs 0 --tokens 96 --loop-ctx 64" +
      m_ + "--text " + sample("fiction") + "," + sample("technical") + " --test-text " +
      sample("news") + " -o ";
  must(study + tmp_ / "1");
  mpirun(3, study + tmp_ / "3");
  expect_same_tables(tmp_ / "3", tmp_ / "1");
  expect_each_once(tmp_ / "3/numbers.jsonl");
  expect_no_claims_left(tmp_ / "3");
}

TEST_F(Sweep, EveryPartOfStorageIsShared) {
  const std::string study =
      "experiment storage --quick --threads 1" + m_ +
      "--calibration 768 --sequence 96 --ctx 128 --methods klt,uninformed --retrieval-tokens 256 "
      "--retrieval-questions 1 --greedy-prompts 3 --greedy-prefix 96 --greedy-tokens 4 --text " +
      sample("fiction") + "," + sample("code") + " --test-text " + sample("news") + " -o ";
  must(study + tmp_ / "1");
  mpirun(3, study + tmp_ / "3");
  expect_same_tables(tmp_ / "3", tmp_ / "1");
  for (const auto& file : fs::directory_iterator(tmp_ / "1/codecs")) {
    const std::string name = file.path().filename().string();
    EXPECT_EQ(slurp(tmp_ / "3/codecs/" + name), slurp(file.path().string())) << name;
  }
  for (const char* journal : {"retrieval.jsonl", "greedy.jsonl"}) {
    expect_each_once(tmp_ / "3/" + journal);
  }
  expect_no_claims_left(tmp_ / "3");
}

TEST_F(Sweep, TrainingsAreShared) {
  const std::string study =
      "experiment train --quick --threads 1 -m " + kModel +
      " --vocabulary 300 --width 64 --heads 2 --hidden 64 --length 96 --steps 10 --seeds 1 "
      "--deltas 0.2,1.6 --calibration 1024 --test-tokens 512 --loop-calibration 1024 "
      "--variants latent_8th,converted_4th --text " +
      sample("fiction") + "," + sample("technical") + " --test-text " + sample("news") + " -o ";
  must(study + tmp_ / "1");
  mpirun(2, study + tmp_ / "2");
  expect_same_tables(tmp_ / "2", tmp_ / "1");
  for (const char* journal : {"trainings.jsonl", "points.jsonl", "loop.jsonl"}) {
    EXPECT_EQ(keys(tmp_ / "2/" + journal).size(), keys(tmp_ / "1/" + journal).size());
    expect_each_once(tmp_ / "2/" + journal);
  }
  expect_no_claims_left(tmp_ / "2");
}

TEST_F(Sweep, CodecsAreTheSameToTheByte) {
  const std::string command = "calibrate --threads 1" + m_ + "-f " + sample("fiction") + " " +
                              sample("technical") + " " + sample("code") +
                              " --tokens 2304 --sequence 96 ";
  must(command + "-o " + tmp_ / "alone.gguf");
  const std::string codec = slurp(tmp_ / "alone.gguf");
  ASSERT_FALSE(codec.empty());
  for (const int ranks : {1, 2, 3, 4}) {
    const std::string n = std::to_string(ranks), work = tmp_ / "work" + n;
    const std::string out = tmp_ / "codec" + n + ".gguf";
    const std::string told = mpirun(ranks, command + "--work " + work + " -o " + out).text;
    EXPECT_EQ(slurp(out), codec) << ranks;
    EXPECT_THAT(told, HasSubstr("fitted on "));
    expect_no_claims_left(work);
  }
  const Outcome without = shell(started(2, command + "-o " + tmp_ / "no.gguf"));
  EXPECT_NE(without.code, 0);
  EXPECT_THAT(without.text, HasSubstr("give --work, a folder that all of them see"));
}

class SweepOfNetworks : public Sweep {
 protected:
  std::string study(const std::string& dir) const {
    return "experiment nerf-attention --synthetic --quick --parts sweep,profile,longer "
           "--epochs 40 --tokens 256 --threads 1 -o " +
           dir;
  }
  std::function<bool()> some_are_done(const std::string& dir) const {
    return [dir] { return keys(dir + "/fits.jsonl").size() >= 3; };
  }
  // One of three gets a signal in the middle; the others come to what one process comes to.
  Outcome go_on_without(int rank, int signal) const {
    const std::string dir = tmp_ / "3";
    const Outcome outcome =
        mpirun_and_signal(3, study(dir), "--enable-recovery", rank, signal, some_are_done(dir));
    EXPECT_THAT(outcome.text, HasSubstr("results in"));
    must(study(tmp_ / "1"));
    expect_same_tables(dir, tmp_ / "1");
    expect_each_once(dir + "/fits.jsonl");
    return outcome;
  }
};

TEST_F(SweepOfNetworks, AKilledRankCostsTheJobItWasAt) {
  const Outcome outcome = go_on_without(1, SIGKILL);
  EXPECT_THAT(outcome.text, ::testing::Not(HasSubstr("rank 1 of 3: did ")));
  EXPECT_THAT(outcome.text, HasSubstr("rank 0 of 3: did "));
  EXPECT_THAT(outcome.text, HasSubstr("rank 2 of 3: did "));
}

TEST_F(SweepOfNetworks, AStoppedRankLetsGoOfItsJob) {
  const Outcome outcome = go_on_without(0, SIGINT);
  EXPECT_THAT(outcome.text, HasSubstr("kvsplice: rank 0 of 3: "));
}

// As mpirun is by itself, all end with the one that is killed.
TEST_F(SweepOfNetworks, TheNextStartGoesOnWhereAllWereStopped) {
  const std::string dir = tmp_ / "3";
  const Outcome killed = mpirun_and_signal(3, study(dir), "", 2, SIGKILL, some_are_done(dir));
  EXPECT_NE(killed.code, 0);
  EXPECT_FALSE(fs::exists(dir + "/manifest.json"));
  const auto before = keys(dir + "/fits.jsonl");
  EXPECT_GE(before.size(), 3u);
  mpirun(2, study(dir));
  must(study(tmp_ / "1"));
  expect_same_tables(dir, tmp_ / "1");
  const auto after = keys(dir + "/fits.jsonl");
  EXPECT_TRUE(std::equal(before.begin(), before.end(), after.begin()));
  expect_each_once(dir + "/fits.jsonl");
}

}  // namespace
}  // namespace kvsplice::cli
