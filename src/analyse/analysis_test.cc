#include "analyse/analysis.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "analyse/testing.h"
#include "core/temporary_folder.h"
#include "extract/dump_file.h"

namespace kvsplice::analyse {
namespace {

using host::Signal;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

class AnalyseDump : public ::testing::Test {
 protected:
  // Stored keys of layer l are autoregressive with rho = l / 10, values white; no keys before RoPE.
  extract::Dump make(int layers, int heads, std::vector<size_t> texts) {
    extract::DumpInfo info;
    info.signals = {Signal::key, Signal::value};
    info.shape.fingerprint = std::string(32, '0');
    info.shape.query_heads = heads;
    size_t tokens = 0;
    for (size_t n : texts) {
      info.texts.push_back({"text" + std::to_string(info.texts.size()), "", n});
      tokens += n;
    }
    for (int l = 0; l < layers; ++l) {
      info.shape.layers.push_back({l, heads, 8, 8, 0, {}});
      info.layers.push_back(l);
    }
    for (int h = 0; h < heads; ++h) info.heads.push_back(h);
    static const auto folder = TemporaryFolder::create("test").value();
    const std::string path = folder.file("dump.gguf");
    auto file = extract::begin_dump(path, info, std::vector<int32_t>(tokens, 0));
    EXPECT_TRUE(file.ok());
    for (int l = 0; l < layers; ++l) {
      const auto keys = testing::ar1(tokens, 8 * heads, l / 10.0, 100 + l);
      const auto values = testing::white(tokens, 8 * heads, 200 + l);
      EXPECT_TRUE(file->write(extract::tensor_name(Signal::key, l), 0, keys.flat()).ok());
      EXPECT_TRUE(file->write(extract::tensor_name(Signal::value, l), 0, values.flat()).ok());
    }
    EXPECT_TRUE(file->finish().ok());
    auto dump = extract::Dump::open(path);
    EXPECT_TRUE(dump.ok());
    return std::move(*dump);
  }
};

TEST_F(AnalyseDump, CoversEverySignalLayerAndHead) {
  const auto dump = make(3, 2, {300, 200});
  const auto a = analyse(dump, {}, {});
  ASSERT_TRUE(a.ok()) << a.error().message;
  EXPECT_EQ(a->tokens, 500);
  EXPECT_EQ(a->texts, 2);
  EXPECT_EQ(a->heads.size(), 2 * 3 * 2);
  EXPECT_EQ(a->layers.size(), 2 * 3);
  ASSERT_EQ(a->signals.size(), 2);
  EXPECT_EQ(a->find(Signal::key_before_rope), nullptr);
  const SignalAnalysis* keys = a->find(Signal::key);
  ASSERT_NE(keys, nullptr);
  EXPECT_NEAR(keys->lag1, 0.1, 0.03);
  EXPECT_NEAR(a->layers[2].lag1, 0.2, 0.05);
  EXPECT_EQ(keys->layer_width, 16);
  EXPECT_EQ(keys->joint_width, 48);
  EXPECT_EQ(keys->joint_rows, 500 - 2 * kSinks);
  EXPECT_EQ(keys->joint_fit_rows, keys->fit_rows);
}

TEST_F(AnalyseDump, LayersOfNoiseAreNotWorthJoining) {
  const auto a = analyse(make(4, 1, {2000}), {}, {});
  ASSERT_TRUE(a.ok());
  const SignalAnalysis& values = *a->find(Signal::value);
  const double white = 0.5 * std::log2(20.0);
  for (const Rates* r : {&values.coordinate, &values.head, &values.layer, &values.model}) {
    EXPECT_NEAR(r->bits[1], white, 0.03);
    EXPECT_NEAR(r->gain, 0, 0.01);
  }
}

TEST_F(AnalyseDump, JointRowsAreLimited) {
  AnalyseOptions options;
  options.joint_rows = 100;
  const auto a = analyse(make(2, 1, {500}), options, {});
  ASSERT_TRUE(a.ok());
  EXPECT_EQ(a->signals[0].joint_rows, 100);
  EXPECT_EQ(a->signals[0].spectrum.size(), 16);
}

TEST_F(AnalyseDump, OneLayerHasNothingToJoin) {
  AnalyseOptions options;
  options.layers = {1};
  const auto a = analyse(make(3, 1, {100}), options, {});
  ASSERT_TRUE(a.ok());
  EXPECT_EQ(a->layers.size(), 2);
  EXPECT_EQ(a->layers[0].layer, 1);
  EXPECT_FALSE(a->signals[0].joint);
}

TEST_F(AnalyseDump, SeedSubset) {
  AnalyseOptions options;
  options.seed_subset = true;
  const auto a = analyse(make(9, 6, {100}), options, {});
  ASSERT_TRUE(a.ok());
  std::vector<int> layers;
  for (const auto& l : a->layers) {
    if (l.signal == Signal::key) layers.push_back(l.layer);
  }
  EXPECT_THAT(layers, ElementsAre(0, 2, 4, 6, 8));
  EXPECT_EQ(a->heads.size(), 2 * 5 * 4);
  EXPECT_EQ(a->heads.back().head, 3);
}

TEST_F(AnalyseDump, ErrorsNameWhatIsWrong) {
  AnalyseOptions options;
  options.layers = {7};
  const auto layer = analyse(make(2, 1, {100}), options, {});
  ASSERT_FALSE(layer.ok());
  EXPECT_EQ(layer.error().kind, ErrorKind::usage);
  EXPECT_THAT(layer.error().message, HasSubstr("layer 7 is not in the dump; it holds 0, 1"));

  const auto brief = analyse(make(2, 1, {100, 63}), {}, {});
  ASSERT_FALSE(brief.ok());
  EXPECT_THAT(brief.error().message, HasSubstr("text text1 has 63 tokens; at least 64"));
}

TEST_F(AnalyseDump, StopsOnRequest) {
  size_t calls = 0;
  const Progress progress{[&](const std::string&, size_t done, size_t total) {
    EXPECT_EQ(total, 4);
    ++calls;
    return done < 2;
  }};
  const auto a = analyse(make(2, 1, {100}), {}, progress);
  ASSERT_FALSE(a.ok());
  EXPECT_EQ(a.error().kind, ErrorKind::interrupted);
  EXPECT_EQ(calls, 3);
}

}  // namespace
}  // namespace kvsplice::analyse
