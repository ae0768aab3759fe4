// Contexts: cache types, what is refused, and what happens when something fails half way.
#include <gmock/gmock.h>
#include <llama.h>

#include <cmath>
#include <limits>
#include <numeric>

#include "host/model.h"
#include "host/tiny_model_test.h"

namespace kvsplice::host {
namespace {

using ::kvsplice::testing::letters;
using ::kvsplice::testing::must;
using ::kvsplice::testing::TempDir;
using ::kvsplice::testing::TinyModel;
using ::kvsplice::testing::TinyOptions;
using ::testing::HasSubstr;

class ContextTest : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    dir_ = new TempDir;
    TinyModel(TinyOptions{}).save(dir_->file("m.gguf"));
    model_ = new Model(must(Model::load(dir_->file("m.gguf"))));
  }
  static void TearDownTestSuite() {
    delete model_;
    delete dir_;
  }
  static Context create(const ContextOptions& o) { return must(Context::create(*model_, o)); }
  static Error refused(const ContextOptions& o) { return Context::create(*model_, o).error(); }

  static std::vector<float> logits_after(Context& c, size_t n) {
    must(c.decode(letters(n), 1));
    return {c.logits(0).begin(), c.logits(0).end()};
  }

  static TempDir* dir_;
  static Model* model_;
};
TempDir* ContextTest::dir_ = nullptr;
Model* ContextTest::model_ = nullptr;

TEST_F(ContextTest, CacheTypesHaveNamesAndBits) {
  const std::map<std::string, double> bits = {{"f32", 32},  {"f16", 16},   {"q8_0", 8.5},
                                              {"q5_1", 6},  {"q5_0", 5.5}, {"q4_1", 5},
                                              {"q4_0", 4.5}};
  EXPECT_EQ(cache_type_names().size(), bits.size());
  for (const std::string& name : cache_type_names()) {
    EXPECT_EQ(bits_per_value(must(parse_cache_type(name))), bits.at(name)) << name;
  }
  EXPECT_THAT(parse_cache_type("q3").error().message, HasSubstr("'q3' is unknown; known are f32"));
}

TEST_F(ContextTest, QuantisedCachesAreSmallerAndClose) {
  ContextOptions o;
  o.n_ctx = 256;
  Context exact = create(o);
  const auto base = logits_after(exact, 64);
  const size_t f16 =
      3 * 2 * 2 * 2 * 32 * 256;  // layers, keys and values, bytes, heads, dims, cells
  EXPECT_EQ(exact.cache_bytes(), f16);
  o.cache = CacheType::f32;  // cast to f16 inside flash attention
  Context wide = create(o);
  EXPECT_EQ(logits_after(wide, 64), base);
  EXPECT_EQ(wide.cache_bytes(), 2 * f16);
  double last = 0;
  for (const char* name : {"q8_0", "q4_0"}) {
    o.cache = must(parse_cache_type(name));
    Context c = create(o);
    EXPECT_EQ(double(c.cache_bytes()), double(f16) * bits_per_value(o.cache) / 16);
    const auto logits = logits_after(c, 64);
    double error = 0, size = 0;
    for (size_t i = 0; i < base.size(); ++i) {
      error += std::pow(logits[i] - base[i], 2);
      size += std::pow(base[i], 2);
    }
    EXPECT_GT(error, last) << name;
    EXPECT_LT(error, 0.1 * size) << name;
    last = error;
  }
}

TEST_F(ContextTest, RefusalsSayWhatIsAllowed) {
  ContextOptions o;
  o.n_ctx = 513;
  EXPECT_THAT(refused(o).message, HasSubstr("513 tokens; the model allows 1 ... 512"));
  o.n_ctx = 0;
  EXPECT_EQ(refused(o).kind, ErrorKind::usage);
  o = {};
  o.n_ubatch = -1;
  EXPECT_THAT(refused(o).message, HasSubstr("n_ubatch"));
  o = {};
  o.cache = CacheType::q8_0;
  o.flash_attention = false;
  EXPECT_THAT(refused(o).message, HasSubstr("needs flash attention"));
  o.flash_attention = true;
  o.write_back = true;
  EXPECT_THAT(refused(o).message, HasSubstr("q8_0 cache cannot be captured"));
  o = {};
  o.signals = {Signal::key};
  EXPECT_THAT(refused(o).message, HasSubstr("go together"));
}

TEST_F(ContextTest, DecodeChecksItsArguments) {
  ContextOptions o;
  o.n_ctx = 20;
  Context c = create(o);
  EXPECT_EQ(c.decode(letters(4), 5).error().kind, ErrorKind::usage);
  must(c.decode(letters(15)));
  EXPECT_THAT(c.decode(letters(6)).error().message,
              HasSubstr("6 tokens after 15 exceed the context of 20"));
  EXPECT_EQ(c.size(), 15u);
  const std::vector<Token> foreign = {260, 286};
  EXPECT_FALSE(c.decode(foreign).ok());
  EXPECT_EQ(c.size(), 15u);
  must(c.decode({}));
  must(c.decode(letters(5)));
  EXPECT_EQ(c.size(), 20u);
  EXPECT_EQ(c.truncate(21).error().kind, ErrorKind::usage);
}

TEST_F(ContextTest, LogitsAreThoseOfTheLastTokens) {
  ContextOptions o;
  o.n_ubatch = 8;
  Context all = create(o), some = create(o);
  must(all.decode(letters(30), 30));
  must(some.decode(letters(30), 13));  // begins inside the third piece
  for (size_t i = 0; i < 13; ++i) {
    for (size_t v = 0; v < 286; ++v) ASSERT_EQ(some.logits(i)[v], all.logits(17 + i)[v]);
  }
}

TEST_F(ContextTest, CacheAccessIsChecked) {
  Context c = create({});
  must(c.decode(letters(10)));
  Matrix<float> rows(4, 64);
  EXPECT_THAT(c.read_cache(Kind::key, 3, 0, rows).error().message, HasSubstr("not in 0 ... 2"));
  EXPECT_THAT(c.read_cache(Kind::key, 0, 7, rows).error().message, HasSubstr("of 10 tokens"));
  Matrix<float> narrow(4, 63);
  EXPECT_THAT(c.write_cache(Kind::value, 0, 0, narrow).error().message,
              HasSubstr("rows of 63 values, values of layer 0 have 64"));
  must(c.read_cache(Kind::value, 1, 2, rows));
  const Matrix<float> before = rows;
  for (float bad : {std::nanf(""), std::numeric_limits<float>::infinity(), 70000.0f}) {
    rows(2, 5) = bad;
    EXPECT_EQ(c.write_cache(Kind::value, 1, 2, rows).error().kind, ErrorKind::numeric);
  }
  must(c.read_cache(Kind::value, 1, 2, rows));
  EXPECT_EQ(rows, before);
  ContextOptions o;
  o.cache = CacheType::q4_0;
  Context quantised = create(o);
  must(quantised.decode(letters(10)));
  EXPECT_THAT(quantised.read_cache(Kind::key, 0, 0, rows).error().message, HasSubstr("q4_0"));
}

TEST_F(ContextTest, AFloatCacheHoldsExactlyWhatWasCaptured) {
  for (bool flash : {true, false}) {
    Matrix<float> seen;
    ContextOptions o;
    o.cache = CacheType::f32;
    o.flash_attention = flash;
    o.signals = {Signal::value, Signal::query};
    int queries = 0;
    o.capture = [&](const Capture& c) -> Result<> {
      if (c.signal == Signal::query) ++queries;
      if (c.signal == Signal::value && c.layer == 2) seen = copy(c.rows);
      return {};
    };
    Context c = create(o);
    must(c.decode(letters(30)));
    Matrix<float> cache(30, 64);
    must(c.read_cache(Kind::value, 2, 0, cache));
    EXPECT_EQ(cache, seen);
    EXPECT_EQ(queries, 3);
  }
}

TEST_F(ContextTest, AnErrorOfTheCallerEndsTheEvaluationAndLeavesTheContextUsable) {
  bool fail = false;
  ContextOptions o;
  o.n_ubatch = 8;
  o.signals = {Signal::key};
  o.capture = [&](const Capture& c) -> Result<> {
    if (fail && c.layer == 1 && c.first == 16) return Error{ErrorKind::io, "disk full"};
    return {};
  };
  Context c = create(o);
  const auto wanted = logits_after(c, 30);
  c.clear();
  fail = true;
  EXPECT_EQ(c.decode(letters(30), 1).error().message, "disk full");
  EXPECT_EQ(c.size(), 16u);
  fail = false;
  const auto tokens = letters(30);
  must(c.decode(std::span(tokens).subspan(16), 1));
  EXPECT_TRUE(std::equal(wanted.begin(), wanted.end(), c.logits(0).begin()));
}

TEST_F(ContextTest, RotationThatDependsOnTheContextIsRefused) {
  TempDir dir;
  TinyOptions o;
  o.long_rope = true;
  TinyModel(o).save(dir.file("l.gguf"));
  const Model model = must(Model::load(dir.file("l.gguf")));
  ContextOptions options;
  options.n_ctx = 200;
  EXPECT_TRUE(Context::create(model, options).ok());
  options.n_ctx = 400;
  EXPECT_THAT(Context::create(model, options).error().message,
              HasSubstr("context of 400 tokens the model rotates by another table"));
}

// A model that is loaded for long contexts turns by their table in all, and keys turn back.
TEST_F(ContextTest, RotationOfLongContextsIsThatOfTheModel) {
  TempDir dir;
  TinyOptions o;
  o.long_rope = true;
  TinyModel(o).save(dir.file("l.gguf"));
  const auto load = [&](int context) {
    ModelOptions of_model;
    of_model.context = context;
    return must(Model::load(dir.file("l.gguf"), of_model));
  };
  const Model brief = load(300), lengthy = load(400);
  EXPECT_EQ(brief.shape(), must(Model::load(dir.file("l.gguf"))).shape());
  const LayerShape &a = brief.shape().layers[0], &b = lengthy.shape().layers[0];
  EXPECT_NE(a.rope.frequency, b.rope.frequency);
  EXPECT_EQ(a.rope.frequency.size(), b.rope.frequency.size());
  std::vector<float> before, key;
  const auto evaluate = [&](int n_ctx) {
    before.clear(), key.clear();
    ContextOptions options;
    options.n_ctx = n_ctx;
    options.signals = {Signal::key_before_rope, Signal::key};
    options.capture = [&](const Capture& c) -> Result<> {
      auto& to = c.signal == Signal::key ? key : before;
      if (c.layer == 1) to.insert(to.end(), c.rows.data, c.rows.data + c.rows.rows * c.rows.cols);
      return {};
    };
    Context context = must(Context::create(lengthy, options));
    must(context.decode(letters(50), 1));
    return std::vector<float>(context.logits(0).begin(), context.logits(0).end());
  };
  const auto wanted = evaluate(400);
  std::vector<int32_t> positions(50);
  std::iota(positions.begin(), positions.end(), 0);
  lengthy.shape().layers[1].rope.apply({before.data(), 50, before.size() / 50}, b.key_dim,
                                       positions);
  for (size_t i = 0; i < key.size(); ++i) ASSERT_NEAR(before[i], key[i], 1e-4) << i;
  EXPECT_EQ(evaluate(60), wanted);  // a context of 60 is as long as others
  ContextOptions options;
  options.n_ctx = 60;
  Context other = must(Context::create(brief, options));
  must(other.decode(letters(50), 1));
  EXPECT_FALSE(std::equal(wanted.begin(), wanted.end(), other.logits(0).begin()));
}

TEST_F(ContextTest, SlidingLayersKeepEveryPosition) {
  TempDir dir;
  TinyOptions o;
  o.architecture = "gemma3";
  TinyModel(o).save(dir.file("g.gguf"));
  const Model gemma = must(Model::load(dir.file("g.gguf")));
  ContextOptions options;
  options.n_ubatch = 16;
  Matrix<float> seen(300, 64);
  options.signals = {Signal::key};
  options.capture = [&](const Capture& c) -> Result<> {
    if (c.layer != 0) return {};
    for (size_t r = 0; r < c.rows.rows; ++r) {
      std::copy_n(c.rows.row(r).data(), 64, seen.row(c.first + r).data());
    }
    return {};
  };
  Context c = must(Context::create(gemma, options));
  must(c.decode(letters(300)));
  Matrix<float> cache(300, 64);
  must(c.read_cache(Kind::key, 0, 0, cache));
  for (size_t i = 0; i < cache.size(); ++i) {
    ASSERT_NEAR(cache.flat()[i], seen.flat()[i], 1e-3 * (1 + std::abs(seen.flat()[i]))) << i;
  }
  EXPECT_EQ(gemma.shape().f16_bytes(300), 2.0 * 128 * (8 + 8 + 300));
}

TEST(ModelOptionsTest, DecideWhatContextsDoNot) {
  TempDir dir;
  TinyModel(TinyOptions{}).save(dir.file("m.gguf"));
  ModelOptions options;
  options.ubatch = 8;
  options.batch = 4;
  options.mmap = options.flash_attention = false;
  const Model model = must(Model::load(dir.file("m.gguf"), options));
  ContextOptions quantised;
  quantised.cache = CacheType::q8_0;
  EXPECT_THAT(Context::create(model, quantised).error().message, HasSubstr("flash attention"));
  ContextOptions plain;
  plain.n_ctx = 16;
  size_t most = 0;
  plain.signals = {Signal::value};
  plain.capture = [&](const Capture& c) -> Result<> {
    most = std::max(most, c.rows.rows);
    return {};
  };
  Context context = must(Context::create(model, plain));
  const std::vector<Token> tokens(11, 3);
  ASSERT_TRUE(context.decode(tokens).ok());
  EXPECT_EQ(most, 4u);
}

TEST(ModelOptionsTest, DevicesThatAreNotThereAreRefused) {
  if (llama_supports_gpu_offload())
    GTEST_SKIP() << "this llama.cpp has a device, so that layers on it are not refused";
  TempDir dir;
  TinyModel(TinyOptions{}).save(dir.file("m.gguf"));
  ModelOptions options;
  options.gpu_layers = 1;
  const auto loaded = Model::load(dir.file("m.gguf"), options);
  ASSERT_FALSE(loaded.ok());
  EXPECT_EQ(loaded.error().kind, ErrorKind::usage);
  EXPECT_THAT(loaded.error().message, HasSubstr("1 layers on a device"));
}

}  // namespace
}  // namespace kvsplice::host
