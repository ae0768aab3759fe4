#include "evaluate/evaluate.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "analyse/testing.h"
#include "core/temporary_folder.h"
#include "evaluate/dump_attention.h"
#include "extract/dump_file.h"
#include "fit/dump_source.h"
#include "fit/fit_codec.h"

namespace kvsplice::evaluate {
namespace {

using host::Signal;
using ::testing::AllOf;
using ::testing::HasSubstr;

constexpr int kDim = 8, kValueDim = 4, kKvHeads = 2, kQueryHeads = 4, kLayers = 2;

struct Made {
  bool queries = true;
  int window = 0;
  std::vector<size_t> texts = {120, 80};
  char fingerprint = 'a';
};

extract::Dump make_dump(const Made& made) {
  extract::DumpInfo info;
  info.signals = {Signal::key_before_rope, Signal::value};
  if (made.queries) info.signals.push_back(Signal::query);
  info.shape.model_name = "made";
  info.shape.fingerprint = std::string(32, made.fingerprint);
  info.shape.query_heads = kQueryHeads;
  size_t tokens = 0;
  for (size_t n : made.texts) {
    info.texts.push_back({"text", "", n});
    tokens += n;
  }
  for (int l = 0; l < kLayers; ++l) {
    Rope rope;
    rope.frequency = {1.0f, 0.3f, 0.1f, 0.01f};
    info.shape.layers.push_back({l, kKvHeads, kDim, kValueDim, made.window, rope});
    info.layers.push_back(l);
  }
  info.heads = {0, 1};
  static const auto folder = TemporaryFolder::create("test").value();
  const std::string path = folder.file(std::string(1, made.fingerprint) + ".gguf");
  auto file = extract::begin_dump(path, info, std::vector<int32_t>(tokens, 1));
  EXPECT_TRUE(file.ok());
  uint64_t seed = 0;
  for (int l = 0; l < kLayers; ++l) {
    for (Signal signal : info.signals) {
      const int heads = signal == Signal::query ? kQueryHeads : kKvHeads;
      const int dim = signal == Signal::value ? kValueDim : kDim;
      const auto rows = analyse::testing::ar1(tokens, heads * dim, 0.5, ++seed);
      EXPECT_TRUE(file->write(extract::tensor_name(signal, l), 0, rows.flat()).ok());
    }
  }
  EXPECT_TRUE(file->finish().ok());
  auto dump = extract::Dump::open(path);
  EXPECT_TRUE(dump.ok()) << dump.error().message;
  return std::move(*dump);
}

codec::Codec fitted(const std::string& pipeline, const extract::Dump& dump) {
  const auto text = codec::parse_codec(pipeline);
  EXPECT_TRUE(text.ok());
  const auto source = codec::DumpSource::open({dump.path()}, 4);
  EXPECT_TRUE(source.ok());
  return codec::fit_codec(*text, source->shape(), *source, nullptr, {}).value();
}

CodecQuality evaluated(const std::string& pipeline, const Made& made,
                       const EvaluateOptions& options = {}) {
  const auto dump = make_dump(made);
  const auto quality = evaluate(fitted(pipeline, dump), "codec", dump, options, nullptr, {});
  EXPECT_TRUE(quality.ok()) << quality.error().message;
  return quality.ok() ? *quality : CodecQuality{};
}

TEST(Evaluate, F16OfAnF16DumpIsExactAndSavesNothing) {
  const auto q = evaluated("f16", {});
  EXPECT_EQ(q.tokens, 200 - 8);
  EXPECT_EQ(q.sink_tokens, 8);
  for (Kind kind : {Kind::key, Kind::value}) {
    EXPECT_EQ(q.errors(kind).sums().error, 0);
    EXPECT_NEAR(q.errors(kind).cosine_min(), 1, 1e-12);
  }
  ASSERT_EQ(q.attention.size(), kLayers);
  for (const auto& layer : q.attention) {
    EXPECT_GT(layer.both.energy, 0);
    EXPECT_EQ(layer.both.error, 0);
  }
  EXPECT_GE(q.bits_per_value(), 16);
  EXPECT_LT(q.bits_per_value(), 16.3);
  EXPECT_FALSE(q.payback_tokens().has_value());
}

TEST(Evaluate, CoarserStepsCostLessAndErrMore) {
  const std::string fine = "step(delta=0.1)", coarse = "step(delta=0.8)";
  const auto f = evaluated(fine, {}), c = evaluated(coarse, {});
  // Uniform rounding of unit-variance values: error delta / sqrt(12), more with the dead zone.
  EXPECT_NEAR(f.errors(Kind::key).sums().relative_rms(), 0.1 / std::sqrt(12), 0.004);
  EXPECT_GT(c.errors(Kind::key).sums().relative_rms(), 0.2);
  EXPECT_LT(c.errors(Kind::key).sums().relative_rms(), 0.3);
  EXPECT_GT(f.errors(Kind::value).cosine_mean(), 0.999);
  EXPECT_LT(c.errors(Kind::value).cosine_mean(), 0.98);
  EXPECT_GT(f.bits_per_value(), c.bits_per_value() + 1);
  ASSERT_TRUE(f.key_entropy_bits && f.value_entropy_bits);
  EXPECT_GT(*f.key_entropy_bits, 4);
  EXPECT_LT(*f.key_entropy_bits, f.bits_per_value());
}

TEST(Evaluate, BytesOfUnitsAreThoseOfTheBlocks) {
  const auto q = evaluated("k: step(delta=0.05); v: step(delta=1)", {});
  size_t sum = 0;
  for (const auto& unit : q.units) {
    EXPECT_GT(unit.bytes, 0);
    sum += unit.bytes;
  }
  EXPECT_LT(sum, q.bytes);  // the sizes of the units stand in front
  EXPECT_GT(sum, q.bytes - 2 * 3 * q.units.size());
  EXPECT_EQ(q.units[1].kind, Kind::value);
  EXPECT_LT(2 * q.units[1].bytes, q.units[0].bytes);
}

TEST(Evaluate, RatioCountsSinksAndPaybackSideData) {
  const auto q = evaluated("klt | step(delta=0.5)", {});
  const double f16 = 2.0 * 2 * (16 + 8) * 192;
  EXPECT_DOUBLE_EQ(q.f16_bytes(), f16);
  EXPECT_DOUBLE_EQ(q.ratio(), f16 / double(q.bytes));
  EXPECT_LT(q.ratio_with_sinks(), q.ratio());
  EXPECT_GT(q.ratio_with_sinks(), 1);
  EXPECT_GT(q.state_bytes, 0);
  ASSERT_TRUE(q.payback_tokens().has_value());
  const double n = *q.payback_tokens();
  EXPECT_NEAR(n * q.f16_bytes() / 192, double(q.state_bytes) + n * double(q.bytes) / 192, 1e-6);
}

// Keys and values alone leave the other side exact.
TEST(Evaluate, SeparatesKeysFromValues) {
  const auto keys = evaluated("k: step(delta=0.5); v: f16", {});
  const auto values = evaluated("k: f16; v: step(delta=0.5)", {});
  for (int l = 0; l < kLayers; ++l) {
    EXPECT_GT(keys.attention[l].key.relative_rms(), 0.005);
    EXPECT_EQ(keys.attention[l].value.error, 0);
    EXPECT_EQ(keys.attention[l].both.error, keys.attention[l].key.error);
    EXPECT_EQ(values.attention[l].key.error, 0);
    EXPECT_GT(values.attention[l].value.relative_rms(), 0.005);
    EXPECT_EQ(values.attention[l].both.error, values.attention[l].value.error);
  }
}

// One text, one layer, by the definition in double: rotation, sinks, causality, shared heads.
double attention_error_by_definition(const codec::Codec& codec, const extract::Dump& dump, size_t n,
                                     int window) {
  const Rope& rope = dump.info().shape.layers[0].rope;
  KvBlock<float> block;
  for (int l = 0; l < kLayers; ++l) {
    block.keys.push_back(*dump.read(Signal::key_before_rope, l, 4, n - 4));
    block.values.push_back(*dump.read(Signal::value, l, 4, n - 4));
  }
  block.tokens.assign(n - 4, 1);
  for (size_t t = 4; t < n; ++t) block.positions.push_back(static_cast<int32_t>(t));
  const auto made = codec.roundtrip(block, nullptr, nullptr);
  EXPECT_TRUE(made.ok());
  const auto q = *dump.read(Signal::query, 0, 0, n);
  const auto k = *dump.read(Signal::key_before_rope, 0, 0, n);
  const auto v = *dump.read(Signal::value, 0, 0, n);
  const auto turned = [&](const Matrix<float>& rows, size_t row, size_t head, size_t t) {
    std::vector<double> x(kDim);
    for (int i = 0; i < kDim / 2; ++i) {
      const double a = rows(row, head * kDim + 2 * i), b = rows(row, head * kDim + 2 * i + 1);
      const double angle = double(t) * rope.frequency[i];
      x[2 * i] = a * std::cos(angle) - b * std::sin(angle);
      x[2 * i + 1] = a * std::sin(angle) + b * std::cos(angle);
    }
    return x;
  };
  double error = 0, energy = 0;
  for (size_t at = 0; at < n; ++at) {
    for (size_t h = 0; h < kQueryHeads; ++h) {
      std::vector<double> exact(kValueDim), decoded(kValueDim);
      double exact_sum = 0, decoded_sum = 0;
      for (size_t t = 0; t <= at; ++t) {
        if (window > 0 && at - t >= size_t(window)) continue;
        const size_t kv = h / 2;
        const auto weight = [&](const std::vector<double>& key) {
          double dot = 0;
          for (int i = 0; i < kDim; ++i) dot += q(at, h * kDim + i) * key[i];
          return std::exp(dot / std::sqrt(double(kDim)));
        };
        const double w = weight(turned(k, t, kv, t));
        const double m = t < 4 ? w : weight(turned(made->keys[0], t - 4, kv, t));
        exact_sum += w;
        decoded_sum += m;
        for (int i = 0; i < kValueDim; ++i) {
          const double value = v(t, kv * kValueDim + i);
          exact[i] += w * value;
          decoded[i] += m * (t < 4 ? value : made->values[0](t - 4, kv * kValueDim + i));
        }
      }
      for (int i = 0; i < kValueDim; ++i) {
        const double x = exact[i] / exact_sum, y = decoded[i] / decoded_sum;
        error += (y - x) * (y - x);
        energy += x * x;
      }
    }
  }
  return std::sqrt(error / energy);
}

TEST(Evaluate, AttentionErrorEqualsTheDefinition) {
  for (int window : {0, 20}) {
    const auto dump = make_dump({true, window, {90}, 'a'});
    const auto codec = fitted("step(delta=0.7)", dump);
    const auto q = evaluate(codec, "codec", dump, {}, nullptr, {});
    ASSERT_TRUE(q.ok());
    EXPECT_EQ(q->query_positions, 90);
    const double expected = attention_error_by_definition(codec, dump, 90, window);
    EXPECT_GT(expected, 0.05);
    EXPECT_NEAR(q->attention[0].both.relative_rms(), expected, 1e-4 * expected);
  }
}

TEST(Evaluate, WithoutQueriesThereIsNoAttention) {
  const auto q = evaluated("step(delta=0.5)", {false, 0, {100}, 'a'});
  EXPECT_TRUE(q.attention.empty());
  EXPECT_EQ(q.query_positions, 0);
  EXPECT_GT(q.errors(Kind::key).sums().error, 0);
}

TEST(Evaluate, LimitsTokensAndQueries) {
  EvaluateOptions options;
  options.max_tokens = 50;
  options.queries = 10;
  options.block = 7;
  const auto q = evaluated("step(delta=0.5)", {}, options);
  EXPECT_EQ(q.tokens, 2 * 46);
  EXPECT_EQ(q.query_positions, 2 * 10);
}

TEST(Evaluate, RefusesAnotherModelNamingBoth) {
  const auto dump = make_dump({}), other = make_dump({true, 0, {100}, 'b'});
  const auto q = evaluate(fitted("f16", other), "mine.gguf", dump, {}, nullptr, {});
  ASSERT_FALSE(q.ok());
  EXPECT_EQ(q.error().kind, ErrorKind::mismatch);
  EXPECT_THAT(q.error().message, AllOf(HasSubstr("mine.gguf"), HasSubstr(std::string(32, 'a')),
                                       HasSubstr(std::string(32, 'b'))));
}

TEST(Evaluate, RefusesOtherLayersOfTheSameModel) {
  const auto dump = make_dump({});
  ModelShape shape = codec::dumped_shape(dump.info());
  shape.layers.pop_back();
  const auto codec = codec::Codec::create(*codec::parse_codec("f16"), shape);
  ASSERT_TRUE(codec.ok());
  const auto q = evaluate(*codec, "part.gguf", dump, {}, nullptr, {});
  ASSERT_FALSE(q.ok());
  EXPECT_EQ(q.error().kind, ErrorKind::mismatch);
  EXPECT_THAT(q.error().message, HasSubstr("was fitted for only 1 layers"));
}

TEST(Evaluate, ErrorsNameWhatIsMissing) {
  const auto dump = make_dump({true, 0, {100, 3}, 'a'});
  const auto codec = fitted("f16", dump);
  const auto brief = evaluate(codec, "codec", dump, {}, nullptr, {});
  ASSERT_FALSE(brief.ok());
  EXPECT_THAT(brief.error().message, HasSubstr("3 tokens of text text"));
  EvaluateOptions options;
  options.block = 0;
  EXPECT_FALSE(evaluate(codec, "codec", dump, options, nullptr, {}).ok());
}

TEST(Evaluate, StopsOnRequest) {
  const auto dump = make_dump({});
  const Progress progress{[](const std::string&, size_t done, size_t) { return done < 1; }};
  const auto q = evaluate(fitted("f16", dump), "codec", dump, {}, nullptr, progress);
  ASSERT_FALSE(q.ok());
  EXPECT_EQ(q.error().kind, ErrorKind::interrupted);
}

TEST(QueryPositions, AreSpacedAndReachTheEnd) {
  EXPECT_EQ(query_positions(10, 5), (std::vector<size_t>{1, 3, 5, 7, 9}));
  EXPECT_EQ(query_positions(3, 100), (std::vector<size_t>{0, 1, 2}));
  EXPECT_EQ(query_positions(1000, 3).back(), 999);
  EXPECT_TRUE(query_positions(0, 5).empty());
}

}  // namespace
}  // namespace kvsplice::evaluate
