// A live cache in place of llama.cpp's, on generated models.
#include <gmock/gmock.h>
#include <malloc.h>
#include <unistd.h>

#include <algorithm>
#include <fstream>

#include "calibrate/calibrate.h"
#include "core/file.h"
#include "core/relative_error_test.h"
#include "host/tiny_model_test.h"
#include "live/saved_cache.h"
#include "quality/quality.h"

namespace kvsplice::host {
namespace {

using ::kvsplice::testing::family;
using ::kvsplice::testing::family_name;
using ::kvsplice::testing::letters;
using ::kvsplice::testing::must;
using ::kvsplice::testing::TempDir;
using ::kvsplice::testing::TinyModel;
using ::kvsplice::testing::TinyOptions;
using ::testing::HasSubstr;

constexpr size_t kTokens = 500;

#ifndef __has_feature  // GCC 12
#define __has_feature(x) 0
#endif
#if defined(__SANITIZE_ADDRESS__) || __has_feature(address_sanitizer) || \
    __has_feature(memory_sanitizer) || __has_feature(thread_sanitizer)
constexpr bool kSanitized = true;
#else
constexpr bool kSanitized = false;
#endif

calibrate::Calibration calibrated(const Model& model, const TempDir& dir,
                                  calibrate::CalibrateOptions options) {
  std::string text;
  for (int32_t token : letters(3000)) text += char('a' + (token - 260));
  must(write_text(dir.file("text"), text));
  options.sequence = 256;
  return must(calibrate::calibrate(model, {dir.file("text")}, options, {}));
}

std::shared_ptr<const live::LiveForm> form_of(const codec::Codec& codec) {
  return std::make_shared<live::LiveForm>(must(live::LiveForm::of(codec)));
}

// Of keys after rotation, finely.
std::shared_ptr<const live::LiveForm> form_of(const Model& model, const TempDir& dir) {
  calibrate::CalibrateOptions options;
  options.pipeline = "k: rotmean(rest=on)|rotate|klt|widths(delta=0.2); v: klt|widths(delta=0.2)";
  options.tokens = 1024;
  return form_of(calibrated(model, dir, options).codec);
}

Model load(const std::string& name, const TempDir& dir, uint64_t seed = 1) {
  TinyOptions options = family(name);
  options.seed = seed;
  TinyModel(options).save(dir.file("m.gguf"));
  return must(Model::load(dir.file("m.gguf")));
}

Result<Context> context_of(const Model& model, std::shared_ptr<const live::LiveForm> form,
                           size_t window) {
  ContextOptions options;
  options.n_ctx = int(kTokens);
  options.threads = 1;
  options.live = std::move(form);
  options.live_options.window = window;
  return Context::create(model, options);
}

// Behind 480 tokens at once, and behind each of 20 more.
std::vector<float> logits_of(Context& context) {
  const auto tokens = letters(kTokens);
  std::vector<float> all;
  must(context.decode(std::span(tokens).first(480), 1));
  for (size_t t = 480; t < kTokens; ++t) {
    must(context.decode(std::span(tokens).subspan(t, 1), 1));
    all.insert(all.end(), context.logits(0).begin(), context.logits(0).end());
  }
  return all;
}

// Like codecs of other kinds: as fine as is asked for, and measured in the loop.
TEST(LiveCacheOf, BitsThatWereAskedForIsMeasured) {
  const TempDir dir;
  const Model model = load("llama", dir);
  calibrate::CalibrateOptions options;
  options.live = true;
  options.tokens = 4096;
  options.ratio = 8;
  const auto made = calibrated(model, dir, options);
  EXPECT_NEAR(made.trials.back().ratio, 8, 0.2);
  const auto form = form_of(made.codec);
  EXPECT_NEAR(form->bits_per_value(), 2, 0.05);
  quality::Options loop;
  loop.n_ctx = 400;
  loop.chunks = 1;
  loop.window = 32;
  const auto outcomes = must(
      quality::measure(model, letters(401), {{"live", std::nullopt, &made.codec, form}}, loop, {}));
  const quality::Outcome& live = outcomes.back();
  EXPECT_EQ(live.cache, "live");
  // Each token's place in its group takes a byte.
  const double place = 8.0 / double(model.shape().values_per_token());
  EXPECT_GT(live.bits_per_value,
            form->bits_per_value() + place * double(made.codec.shape().layers.size()));
  EXPECT_LT(live.bits_per_value, form->bits_per_value() + 1.0);
  EXPECT_GT(live.kld_mean, 1e-6);
  EXPECT_LT(live.kld_mean, 0.2);
  EXPECT_GT(live.ratio_with_window, 1.2);
  EXPECT_LT(live.ratio_with_window, live.ratio);
}

class LiveCache : public ::testing::TestWithParam<const char*> {};

TEST_P(LiveCache, AnswersAttention) {
  const TempDir dir;
  const Model model = load(GetParam(), dir);
  const auto form = form_of(model, dir);
  Context plain = must(context_of(model, nullptr, 0));
  const auto wanted = logits_of(plain);
  // Nothing leaves a window as long as the text: what differs are roundings.
  Context exact = must(context_of(model, form, kTokens));
  const double rounding = relative_error(logits_of(exact), wanted);
  EXPECT_LT(rounding, 3e-3);
  Context small = must(context_of(model, form, 32));
  const double error = relative_error(logits_of(small), wanted);
  EXPECT_GT(error, 1.5 * rounding);
  EXPECT_LT(error, 0.1);
  EXPECT_LT(small.cache_bytes() - form->table_bytes(),
            0.65 * double(kTokens * model.shape().f16_bytes_per_token()));
  small.clear();
  EXPECT_EQ(relative_error(logits_of(small), wanted), error);  // from the beginning
}

TEST_P(LiveCache, GoesOnBehindAFile) {
  const TempDir dir;
  const Model model = load(GetParam(), dir);
  const auto form = form_of(model, dir);
  const auto tokens = letters(kTokens);
  Context before = must(context_of(model, form, 32));
  must(before.decode(std::span(tokens).first(480)));
  must(before.decode(std::span(tokens).subspan(480, 10)));
  ASSERT_GT(before.live_cells()->tokens, 0u);
  must(live::save_cache(must(OutputFile::reserve(dir.file("k"))), *form, before.live_layers(),
                        std::span(tokens).first(490)));
  const auto saved = must(live::SavedCache::open(dir.file("k")));
  Context behind = must(context_of(model, form, 32));
  must(behind.decode(std::span(tokens).first(7)));  // which go
  must(behind.set_live_layers(must(saved.layers(*form))));
  EXPECT_EQ(behind.size(), 490u);
  EXPECT_EQ(behind.cache_bytes(), before.cache_bytes());
  for (size_t t = 490; t < kTokens; ++t) {
    must(before.decode(std::span(tokens).subspan(t, 1), 1));
    must(behind.decode(std::span(tokens).subspan(t, 1), 1));
    const auto wanted = before.logits(0), got = behind.logits(0);
    EXPECT_TRUE(std::equal(got.begin(), got.end(), wanted.begin(), wanted.end())) << t;
  }
  EXPECT_FALSE(behind.set_live_layers({}).ok());
  const auto other = form_of(model, dir);  // equal, but another object
  EXPECT_FALSE(behind.set_live_layers(must(saved.layers(*other))).ok());
}

INSTANTIATE_TEST_SUITE_P(Families, LiveCache,
                         ::testing::Values("llama", "llama+yarn", "qwen2", "qwen3", "qwen3moe",
                                           "gpt2", "gptneox", "phi3", "arcee", "deci+heads",
                                           "gemma2", "gemma3", "gpt-oss", "llama4"),
                         [](const auto& family) { return family_name(family.param); });

// Pages of this process that are in memory.
double resident_bytes() {
  malloc_trim(0);
  std::ifstream statm("/proc/self/statm");
  double all = 0, resident = 0;
  statm >> all >> resident;
  return resident * double(sysconf(_SC_PAGESIZE));
}

// The process is smaller by what the caches' own counts say.
TEST(LiveCacheOf, ResidentMemoryIsAsSmallAsItSays) {
  if (kSanitized) GTEST_SKIP() << "sanitizers keep memory of their own";
  const TempDir dir;
  TinyOptions wide = family("llama");
  wide.kv_heads = 4;
  wide.head_dim = 64;
  wide.context = 4096;
  TinyModel(wide).save(dir.file("m.gguf"));
  const Model model = must(Model::load(dir.file("m.gguf")));
  const auto form = form_of(model, dir);
  const auto tokens = letters(wide.context);
  const auto taken = [&](std::shared_ptr<const live::LiveForm> own, double& counted) {
    const double before = resident_bytes();
    ContextOptions options;
    options.n_ctx = wide.context;
    options.n_ubatch = 256;
    options.live = std::move(own);
    Context context = must(Context::create(model, options));
    must(context.decode(tokens));
    counted = double(context.cache_bytes());
    return resident_bytes() - before;
  };
  double f16 = 0, live = 0;
  taken(nullptr, f16);  // whatever is made once
  const double of_f16 = taken(nullptr, f16), of_live = taken(form, live);
  const double per_token = double(model.shape().f16_bytes_per_token());
  EXPECT_EQ(f16, wide.context * per_token);
  const double cells = 256 * per_token, tables = double(form->table_bytes());  // made before
  EXPECT_NEAR(of_f16 - of_live, f16 - (live - tables + cells), 0.15 * f16);
  EXPECT_LT(of_live, 0.6 * of_f16);
}

TEST(LiveCacheOf, WhatIsNotHandledIsRefusedAtOnce) {
  const TempDir dir;
  const auto refused = [&](const std::string& name) {
    const Model model = load(name, dir);
    const auto context = context_of(model, form_of(model, dir), 64);
    return context.ok() ? std::string("taken") : context.error().message;
  };
  EXPECT_THAT(refused("mpt"), HasSubstr("biased by distance"));
  EXPECT_THAT(refused("jamba"), HasSubstr("is recurrent"));
  const Model hybrid = load("jamba", dir);
  EXPECT_THAT(hybrid.check_live_cache().error().message, HasSubstr("is recurrent"));
  calibrate::CalibrateOptions options;
  options.live = true;
  EXPECT_THAT(calibrate::calibrate(hybrid, {dir.file("text")}, options, {}).error().message,
              HasSubstr("is recurrent"));
}

TEST(LiveCacheOf, AnotherModelIsRefusedAndCellsStayWhereTheyAre) {
  const TempDir dir;
  const Model other = load("llama", dir, 2);
  const auto form = form_of(other, dir);
  const Model model = load("llama", dir);
  EXPECT_THAT(context_of(model, form, 64).error().message, HasSubstr("the live codec is of model"));
  Context context = must(context_of(model, form_of(model, dir), 64));
  must(context.decode(letters(100)));
  EXPECT_THAT(context.save_state().error().message, HasSubstr("live cache"));
  EXPECT_THAT(context.truncate(50).error().message, HasSubstr("live cache"));
  Matrix<float> rows(100, size_t(model.shape().layers[0].width(Kind::key)));
  EXPECT_THAT(context.read_cache(Kind::key, 0, 0, rows).error().message, HasSubstr("live cache"));
}

}  // namespace
}  // namespace kvsplice::host
