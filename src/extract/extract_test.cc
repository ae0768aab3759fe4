#include <fmt/format.h>
#include <gmock/gmock.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <functional>

#include "core/half.h"
#include "extract/dump.h"
#include "host/tiny_model_test.h"

namespace kvsplice::extract {
namespace {

using host::Signal;
using ::kvsplice::testing::for_each_flip;
using ::kvsplice::testing::must;
using ::kvsplice::testing::put_file;
using ::kvsplice::testing::TempDir;
using ::kvsplice::testing::TinyModel;
using ::kvsplice::testing::TinyOptions;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

const std::vector<Signal> all_signals = {Signal::key_before_rope, Signal::key, Signal::value,
                                         Signal::query};

class ExtractTest : public ::testing::Test {
 protected:
  void SetUp() override {
    TinyModel(TinyOptions{}).save(dir.file("m.gguf"));
    model.emplace(must(host::Model::load(dir.file("m.gguf"))));
    std::string text;
    for (int i = 0; i < 30; ++i) text += i % 3 ? "abc" : "xyz ";
    must(write_text(first, text));
    must(write_text(second, text.substr(5) + " and more"));
    options.tokens = 50;
    options.n_ubatch = 16;
  }
  Result<DumpInfo> run(const Progress& progress = {}) {
    return extract(*model, {first, second}, options, out, progress);
  }

  TempDir dir;
  std::optional<host::Model> model;
  std::string first = dir.file("first.txt"), second = dir.file("second.txt"),
              out = dir.file("dump.gguf");
  ExtractOptions options;
};

TEST_F(ExtractTest, DumpHoldsWhatTheModelComputes) {
  const DumpInfo info = must(run());
  const Dump dump = must(Dump::open(out));
  EXPECT_EQ(dump.info().shape, model->shape());
  EXPECT_EQ(info.tokens(), 100u);
  ASSERT_EQ(dump.info().texts.size(), 2u);
  EXPECT_EQ(dump.info().texts[1].name, "second.txt");
  EXPECT_NE(dump.info().texts[0].hash, dump.info().texts[1].hash);
  EXPECT_FALSE(dump.info().synthetic);
  EXPECT_EQ(dump.tokens()[0], model->bos());
  EXPECT_EQ(dump.tokens()[50], model->bos());
  EXPECT_EQ(dump.positions()[49], 49);
  EXPECT_EQ(dump.positions()[50], 0);

  // The same evaluation, watched here.
  size_t start = 0, seen = 0;
  host::ContextOptions o;
  o.n_ubatch = 16;
  o.signals = all_signals;
  o.capture = [&](const host::Capture& c) -> Result<> {
    const auto rows = must(dump.read(c.signal, c.layer, start + c.first, c.rows.rows));
    EXPECT_EQ(rows.cols(), c.rows.cols);
    for (size_t r = 0; r < rows.rows(); ++r) {
      for (size_t i = 0; i < rows.cols(); ++i) {
        if (rows(r, i) != from_half(to_half(c.rows(r, i)))) {
          return Error{ErrorKind::mismatch, fmt::format("{} {}", r, i)};
        }
      }
    }
    seen += rows.rows();
    return {};
  };
  host::Context context = must(host::Context::create(*model, o));
  for (; start < 100; start += 50) {
    context.clear();
    for (size_t at = 0; at < 50; at += 16) {
      must(context.decode(dump.tokens().subspan(start + at, std::min<size_t>(16, 50 - at))));
    }
  }
  EXPECT_EQ(seen, 100u * 3 * 4);
}

TEST_F(ExtractTest, SubsetsAreTheSameNumbers) {
  must(run());
  const Dump all = must(Dump::open(out));
  out = dir.file("part.gguf");
  options.layers = {2, 0, 2};
  options.heads = {1};
  options.queries = false;
  must(run());
  const Dump part = must(Dump::open(out));
  EXPECT_THAT(part.info().layers, ElementsAre(0, 2));
  EXPECT_THAT(part.info().heads, ElementsAre(1));
  EXPECT_FALSE(part.has(Signal::query));
  for (int layer : {0, 2}) {
    for (Signal s : {Signal::key_before_rope, Signal::key, Signal::value}) {
      const auto a = must(all.read(s, layer)), b = must(part.read(s, layer));
      EXPECT_EQ(copy(a.view().col_range(32, 32)), b);
    }
  }
  EXPECT_THAT(part.read(Signal::key, 1).error().message, HasSubstr("does not hold layer 1"));
  EXPECT_THAT(part.read(Signal::query, 0).error().message, HasSubstr("holds no 'q'"));
  EXPECT_THAT(part.read(Signal::key, 0, 99, 2).error().message, HasSubstr("of 100"));
  EXPECT_FALSE(part.read(Signal::key, 0, size_t(-1), 2).ok());
}

TEST_F(ExtractTest, DumpsSayWhatBecomesOfScores) {
  must(run());
  EXPECT_TRUE(must(Dump::open(out)).info().scoring.empty());
  TinyOptions o;
  o.architecture = "gpt-oss";
  const TinyModel sinks(o);
  sinks.save(dir.file("sinks.gguf"));
  model.emplace(must(host::Model::load(dir.file("sinks.gguf"))));
  options.heads = {1};
  options.layers = {0, 2};
  must(run());
  const Dump part = must(Dump::open(out));
  const std::vector<float>& weights = sinks.weight("blk.2.attn_sinks.weight");
  EXPECT_EQ(part.info().scoring[2].sinks, weights);
  EXPECT_THAT(part.info().scoring_of(2).sinks, ElementsAre(weights[2], weights[3]));
  EXPECT_EQ(part.info().scoring[1], Scoring());

  o.architecture = "gemma2";
  TinyModel(o).save(dir.file("cap.gguf"));
  model.emplace(must(host::Model::load(dir.file("cap.gguf"))));
  options.heads.clear();
  must(run());
  const Dump capped = must(Dump::open(out));
  EXPECT_EQ(capped.info().scoring_of(1).soft_cap, 3);
  EXPECT_THAT(capped.info().scoring_of(1).sinks, ::testing::IsEmpty());
}

TEST_F(ExtractTest, LayersMayDifferInTheirHeads) {
  TinyOptions o;
  o.architecture = "deci";
  o.kv_heads_by_layer = {1, 0, 2};
  o.heads_by_layer = {4, 4, 2};
  TinyModel(o).save(dir.file("deci.gguf"));
  model.emplace(must(host::Model::load(dir.file("deci.gguf"))));
  must(run());
  const Dump all = must(Dump::open(out));
  EXPECT_THAT(all.info().heads, ElementsAre(0, 1));
  EXPECT_EQ(must(all.read(Signal::value, 0)).cols(), 32u);
  EXPECT_EQ(must(all.read(Signal::value, 1)).cols(), 64u);
  EXPECT_EQ(must(all.read(Signal::query, 0)).cols(), 4u * 32);
  EXPECT_EQ(must(all.read_queries(1, 0, 10)).cols(), 2u * 32);
  out = dir.file("part.gguf");
  options.heads = {1};
  EXPECT_THAT(run().error().message, HasSubstr("layer 0 has 1 KV heads and none of those chosen"));
  options.layers = {1};
  must(run());
  const Dump part = must(Dump::open(out));
  EXPECT_EQ(must(part.read(Signal::key, 1)),
            copy(must(all.read(Signal::key, 1)).view().col_range(32, 32)));
}

TEST_F(ExtractTest, RotationIsInTheDump) {
  must(run());
  const Dump dump = must(Dump::open(out));
  const LayerShape& l = dump.info().shape.layers[1];
  auto keys = must(dump.read(Signal::key_before_rope, 1));
  const auto rotated = must(dump.read(Signal::key, 1));
  EXPECT_FALSE(keys == rotated);
  l.rope.apply(keys, l.key_dim, dump.positions());
  for (size_t i = 0; i < keys.size(); ++i) {
    ASSERT_NEAR(keys.flat()[i], rotated.flat()[i], 1e-3 * (1 + std::abs(keys.flat()[i])));
  }
}

TEST_F(ExtractTest, FailuresSayWhyAndLeaveNoFile) {
  const auto fails_with = [&](const std::string& message) {
    const auto r = run();
    EXPECT_THAT(r.ok() ? "" : r.error().message, HasSubstr(message));
    EXPECT_EQ(dir.count_files(), 3u);  // model and texts
  };
  options.tokens = 200;
  fails_with("are wanted; the other texts have no more");
  options.tokens = 0;
  fails_with("0 tokens wanted");
  options.tokens = 50;
  options.layers = {3};
  fails_with("layer 3 does not exist; 0 ... 2 do");
  options.layers = {};
  options.heads = {2};
  fails_with("KV head 2 does not exist");
  options.heads = {};
  options.n_ubatch = -1;
  fails_with("n_ubatch");
  options.n_ubatch = 16;
  const auto stopped =
      run({[](const std::string&, size_t done, size_t total) { return done < total / 2; }});
  EXPECT_EQ(stopped.error().kind, ErrorKind::interrupted);
  EXPECT_EQ(dir.count_files(), 3u);
  EXPECT_FALSE(extract(*model, std::vector<std::string>{}, options, out, {}).ok());
  EXPECT_FALSE(extract(*model, std::vector<Sequence>{}, options, out, {}).ok());
  EXPECT_FALSE(extract(*model, {dir.file("none.txt")}, options, out, {}).ok());
}

TEST_F(ExtractTest, ValuesBeyondHalfPrecisionNameLayerAndSignal) {
  TinyOptions o;
  o.seed = 3;
  TinyModel tiny(o);
  Bytes bytes = tiny.file.bytes();
  // Scale the weights of layer 1's values in place.
  const auto& w = tiny.weight("blk.1.attn_v.weight");
  const auto* pattern = reinterpret_cast<const uint8_t*>(w.data());
  const auto at = std::search(bytes.begin(), bytes.end(), pattern, pattern + 64);
  ASSERT_NE(at, bytes.end());
  for (size_t i = 0; i < w.size(); ++i) {
    const float big = w[i] * 1e5f;
    std::memcpy(&*at + 4 * i, &big, 4);
  }
  put_file(dir.file("loud.gguf"), bytes);
  const host::Model model2 = must(host::Model::load(dir.file("loud.gguf")));
  const auto r = extract(model2, {first}, options, out, {});
  ASSERT_FALSE(r.ok());
  EXPECT_EQ(r.error().kind, ErrorKind::numeric);
  EXPECT_THAT(r.error().message, HasSubstr("tensor 'v.1'"));
}

TEST_F(ExtractTest, ProgressCoversAllTokens) {
  std::vector<size_t> steps;
  must(run({[&](const std::string&, size_t done, size_t total) {
    EXPECT_EQ(total, 100u);
    steps.push_back(done);
    return true;
  }}));
  EXPECT_THAT(steps, ElementsAre(0, 16, 32, 48, 50, 66, 82, 98, 100));
}

TEST_F(ExtractTest, DamagedDumpsAreRefusedOrRead) {
  options.tokens = 4;
  options.layers = {1};
  options.heads = {0};
  options.queries = false;
  must(run());
  size_t refused = 0;
  for_each_flip(out, [&] {
    const auto dump = Dump::open(out);
    if (!dump.ok()) {
      ++refused;
      return;
    }
    for (int layer : dump->info().layers) (void)dump->read(Signal::value, layer).ok();
  });
  const Bytes bytes = must(read_file(out));
  EXPECT_GT(refused, bytes.size() / 10);
  put_file(out, ByteSpan(bytes).first(bytes.size() / 2));
  EXPECT_FALSE(Dump::open(out).ok());
  EXPECT_THAT(Dump::open(dir.file("m.gguf")).error().message, HasSubstr("not a dump"));
}

class SyntheticTest : public ::testing::Test {
 protected:
  Dump make(const SyntheticOptions& o) {
    must(extract_synthetic(o, dir.file("s.gguf")));
    return must(Dump::open(dir.file("s.gguf")));
  }
  TempDir dir;
};

TEST(LatentReaders, AreFewAndEvenlySpaced) {
  DumpInfo info;
  info.heads = {0};
  info.shape.layers = {{0, 1, 80, 0, 0, {}, false}};
  for (const auto& [heads, readers, last] :
       {std::array{4, 4, 3}, {8, 8, 7}, {9, 5, 8}, {12, 6, 10}, {64, 8, 56}, {128, 8, 112}}) {
    info.shape.query_heads = heads;
    const std::vector<int> found = info.readers_of(0);
    EXPECT_EQ(std::ssize(found), readers) << heads;
    EXPECT_EQ(found.front(), 0);
    EXPECT_EQ(found.back(), last) << heads;
  }
  info.shape.layers[0].value_dim = 32;  // no latent: all that read the head
  EXPECT_EQ(info.readers_of(0).size(), 128u);
}

TEST_F(SyntheticTest, Shape) {
  SyntheticOptions o;
  o.layers = 2;
  o.heads = 3;
  o.head_dim = 10;
  o.tokens = 100;
  const Dump dump = make(o);
  EXPECT_TRUE(dump.info().synthetic);
  EXPECT_EQ(dump.info().tokens(), 100u);
  EXPECT_EQ(dump.info().shape.layers.size(), 2u);
  EXPECT_FALSE(dump.info().shape.layers[1].rope.rotates());
  EXPECT_FALSE(dump.has(Signal::query));
  EXPECT_EQ(must(dump.read(Signal::key, 1)), must(dump.read(Signal::key_before_rope, 1)));
  EXPECT_EQ(must(dump.read(Signal::value, 1)).cols(), 30u);

  const auto keys = must(dump.read(Signal::key, 1));
  EXPECT_EQ(must(make(o).read(Signal::key, 1)), keys);
  const std::string fingerprint = dump.info().shape.fingerprint;
  o.seed = 1;
  const Dump other = make(o);
  EXPECT_NE(must(other.read(Signal::key, 1)), keys);
  EXPECT_EQ(other.info().shape.fingerprint, fingerprint);
  EXPECT_NE(other.info().texts[0].hash, dump.info().texts[0].hash);
}

double variance(const Matrix<float>& x) {
  double sum = 0, square = 0;
  for (float v : x.flat()) sum += v, square += double(v) * v;
  return square / double(x.size()) - std::pow(sum / double(x.size()), 2);
}

// Variance of the change from one token to the next.
double roughness(const Matrix<float>& x) {
  double square = 0;
  for (size_t r = 1; r < x.rows(); ++r) {
    for (size_t c = 0; c < x.cols(); ++c) square += std::pow(double(x(r, c)) - x(r - 1, c), 2);
  }
  return square / double((x.rows() - 1) * x.cols());
}

TEST_F(SyntheticTest, StatisticsAreThoseOfTheFormulas) {
  SyntheticOptions o;
  o.heads = 2;
  o.tokens = 2000;
  const Dump dump = make(o);
  // Values: a wave of amplitude 0.6 and noise of 0.15; from token to token nearly only noise.
  const auto values = must(dump.read(Signal::value, 0));
  EXPECT_NEAR(variance(values), 0.18 + 0.0225, 0.01);
  EXPECT_NEAR(roughness(values), 2 * 0.0225, 0.002);
  // Keys: three waves, noise of 0.1; spikes add a little.
  const auto keys = must(dump.read(Signal::key, 0));
  EXPECT_GT(variance(keys), 0.9 * (0.125 + 0.045 + 0.02 + 0.01));
  EXPECT_LT(variance(keys), 1.2 * (0.125 + 0.045 + 0.02 + 0.01));
  EXPECT_NEAR(roughness(keys), 2 * 0.01, 0.006);
  // Later layers have three times as many spikes, each one token wide to either side.
  EXPECT_GT(roughness(must(dump.read(Signal::key, 3))), roughness(keys));
}

TEST_F(SyntheticTest, TinyAndImpossibleSizes) {
  SyntheticOptions o{1, 1, 1, 1, 0};
  const Dump dump = make(o);
  EXPECT_EQ(must(dump.read(Signal::key, 0)).size(), 1u);
  for (auto change : std::vector<std::function<void(SyntheticOptions&)>>{
           [](auto& s) { s.layers = 0; }, [](auto& s) { s.heads = -1; },
           [](auto& s) { s.head_dim = 5000; }, [](auto& s) { s.tokens = 0; }}) {
    SyntheticOptions bad = o;
    change(bad);
    EXPECT_EQ(extract_synthetic(bad, dir.file("b.gguf")).error().kind, ErrorKind::usage);
  }
  EXPECT_EQ(dir.count_files(), 1u);
}

}  // namespace
}  // namespace kvsplice::extract
