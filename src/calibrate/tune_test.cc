#include "calibrate/tune.h"

#include <gmock/gmock.h>

#include <cmath>

#include "calibrate/calibrate.h"
#include "core/file.h"
#include "host/tiny_model_test.h"

namespace kvsplice::calibrate {
namespace {

using ::kvsplice::testing::must;
using ::kvsplice::testing::TempDir;
using ::kvsplice::testing::TinyModel;
using ::kvsplice::testing::TinyOptions;
using ::testing::HasSubstr;

TEST(TunedSteps, AreOneWhereBytesAreWorthTheSame) {
  for (double f : tuned_steps({{.01, 100}, {.02, 200}, {.005, 50}})) EXPECT_NEAR(f, 1, 1e-9);
  for (double f : tuned_steps({{0, 100}, {-.02, 200}})) EXPECT_EQ(f, 1);
}

TEST(TunedSteps, HoldBytesAndAreFinerWhereErrorsCostMore) {
  const std::vector<UnitCost> costs{{.01, 100}, {.02, 300}, {.005, 200}, {.03, 100}, {0, 0}};
  const auto factors = tuned_steps(costs);
  double saved = 0;
  for (size_t u = 0; u < costs.size(); ++u) saved += costs[u].bytes * std::log(factors[u]);
  EXPECT_NEAR(saved, 0, 1e-6);
  EXPECT_GT(factors[2], factors[1]);
  EXPECT_GT(factors[1], factors[0]);
  EXPECT_GT(factors[0], factors[3]);
  EXPECT_NEAR(factors[2] / factors[3], std::pow(200 / .005 / (100 / .03), .25), 1e-6);
  EXPECT_EQ(factors[4], 1);
  const auto far = tuned_steps({{1e-9, 100}, {1, 100}});
  EXPECT_NEAR(far[0], kMostTuned, 1e-6);
  EXPECT_NEAR(far[1], 1 / kMostTuned, 1e-6);
}

class TuneTest : public ::testing::Test {
 protected:
  TuneTest() {
    TinyModel(TinyOptions()).save(dir.file("m.gguf"));
    model.emplace(must(host::Model::load(dir.file("m.gguf"))));
    std::string text;
    for (size_t i = 0; i < 6000; ++i) text += char('a' + (i * i / 7 + i / 13) % 26);
    must(write_text(dir.file("t.txt"), text));
    options.pipeline = "klt | step(delta=0.4) | range";
    options.tokens = 512;
    options.sequence = 64;
    options.threads = 1;
  }
  float step_of(const codec::Codec& codec, size_t u) const {
    return codec.units()[u].stages()[1]->save().at("step").values[0];
  }
  Result<Calibration> made() const { return calibrate(*model, {dir.file("t.txt")}, options, {}); }

  TempDir dir;
  std::optional<host::Model> model;
  CalibrateOptions options;
};

TEST_F(TuneTest, StepsAreScaledAsCostsSayAndTheSameEveryTime) {
  const codec::Codec even = must(made()).codec;
  options.tune = true;
  const codec::Codec tuned = must(made()).codec, again = must(made()).codec;
  EXPECT_EQ(tuned.fingerprint(), again.fingerprint());
  double most = 0;
  for (size_t u = 0; u < even.units().size(); ++u) {
    const double factor = step_of(tuned, u) / step_of(even, u);
    EXPECT_LE(std::abs(std::log(factor)), std::log(kMostTuned) + 1e-6);
    most = std::max(most, std::abs(std::log(factor)));
  }
  EXPECT_GT(most, 0.05) << "nothing was tuned";
}

TEST_F(TuneTest, SaysWhatCannotBeTuned) {
  options.tune = true;
  const auto message = [&] { return made().error().message; };
  options.pipeline = "k: klt | step | range ; v: uniform";
  EXPECT_THAT(message(), HasSubstr("no stage 'step' for values"));
  options.pipeline = "klt | step | range";
  options.ratio = 4;
  EXPECT_THAT(message(), HasSubstr("a target scales all steps"));
  options.ratio = {};
  options.pipeline = {};
  options.live = true;
  EXPECT_THAT(message(), HasSubstr("a live cache"));
}

}  // namespace
}  // namespace kvsplice::calibrate
