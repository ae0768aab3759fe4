// What conformance cannot say of `focus`: that its factors follow the attention.
#include <gmock/gmock.h>

#include <cmath>
#include <limits>

#include "core/random.h"
#include "fit/stage_fit.h"

namespace kvsplice::codec {

StageInfo focus_stage();

namespace {

constexpr size_t kTokens = 1500;
constexpr int kHeads = 2, kDim = 4;

Matrix<float> noise(size_t rows, size_t cols, uint64_t seed) {
  Random random(seed);
  Matrix<float> x(rows, cols);
  for (float& v : x.flat()) v = static_cast<float>(random.normal());
  return x;
}

// Values of two heads. The logarithm of the attention is the head's first key, and noise; it is
// known of every other token.
struct Example {
  Example() {
    for (size_t r = 0; r < kTokens; r += 2) attention.rows.push_back(r);
    attention.received = noise(attention.rows.size(), kHeads, 3);
    for (float& x : attention.received.flat()) x *= 0.3f;
    for (size_t i = 0; i < attention.rows.size(); ++i) {
      for (size_t h = 0; h < kHeads; ++h) {
        attention.received(i, h) += 5 + keys(attention.rows[i], h * kDim);
      }
    }
  }
  FitContext context() const {
    FitContext c{{unit, {}, {}, {{Kind::key, 0, keys}}}};
    c.attention = &attention;
    return c;
  }
  static Result<std::unique_ptr<Stage>> fitted(const KeyValues& params, const Matrix<float>& rows,
                                               const FitContext& context) {
    return fit_stage("focus", params, {rows, {}, false, 0}, context);
  }
  Result<std::unique_ptr<Stage>> fitted(const KeyValues& params) const {
    return fitted(params, values, context());
  }
  Matrix<float> encoded(const Stage& stage) const {
    Rows rows{values, {}, false, 0};
    ByteWriter side;
    EXPECT_TRUE(stage.encode(rows, context(), side).ok());
    EXPECT_TRUE(side.bytes().empty());
    return rows.values;
  }

  Unit unit{Kind::value, 0, {kDim, kDim}, {}};
  Matrix<float> keys = noise(kTokens, kHeads*kDim, 1), values = noise(kTokens, kHeads*kDim, 2);
  Attention attention;
};

TEST(Focus, FactorsFollowTheAttention) {
  const Example e;
  const auto stage = e.fitted({{"values", "0.8"}, {"limit", "2"}}).value();
  const Matrix<float> made = e.encoded(*stage);
  size_t clipped = 0;
  for (size_t r = 0; r < kTokens; ++r) {
    for (size_t h = 0; h < kHeads; ++h) {
      const double wanted = std::exp(0.4 * e.keys(r, h * kDim));
      for (size_t i = h * kDim; i < (h + 1) * kDim; ++i) {
        const double factor = made(r, i) / e.values(r, i);
        ASSERT_NEAR(factor, std::clamp(wanted, 0.5, 2.0), 0.15 * wanted) << r << " " << i;
        ASSERT_LE(factor, 2.0001);
        ASSERT_GE(factor, 0.4999);
        clipped += factor > 1.9999 || factor < 0.5001;
      }
    }
  }
  EXPECT_GT(clipped, 0.04 * double(kTokens * kHeads * kDim));  // 8 % of a normal's tails
  EXPECT_LT(clipped, 0.15 * double(kTokens * kHeads * kDim));
}

TEST(Focus, DecodingUndoesIt) {
  const Example e;
  const auto stage = e.fitted({}).value();
  auto loaded = focus_stage().make({}, 1).value();
  ASSERT_TRUE(loaded->load(stage->save(), kHeads * kDim).ok());
  Rows rows{e.encoded(*stage), {}, false, 0};
  const Bytes none;
  ByteReader side(none);
  ASSERT_TRUE(loaded->decode(rows, kTokens, e.context(), side).ok());
  for (size_t i = 0; i < rows.values.size(); ++i) {
    ASSERT_NEAR(rows.values.flat()[i], e.values.flat()[i], 1e-5);
  }
}

TEST(Focus, LeavesAloneWhatItCannotTellOrIsNotToTouch) {
  Example e;
  const auto off = e.fitted({{"values", "0"}}).value();
  EXPECT_TRUE(off->save().empty());
  EXPECT_EQ(e.encoded(*off), e.values);
  const KeyValues none = {{"keys", "0"}, {"values", "0"}}, keys = {{"values", "0"}};
  EXPECT_FALSE(focus_stage().traits(none).attention);
  EXPECT_EQ(focus_stage().traits(none).history, 0);
  EXPECT_TRUE(focus_stage().traits(keys).attention);
  FitContext first = e.context();  // the first layer's keys: nothing is decoded yet
  first.history.clear();
  EXPECT_TRUE(Example::fitted({}, e.values, first).value()->save().empty());
}

TEST(Focus, RefusesWhatDoesNotFit) {
  Example e;
  FitContext blind = e.context();
  blind.attention = nullptr;
  const auto error = [](const Matrix<float>& rows, const FitContext& context) {
    return Example::fitted({}, rows, context).error();
  };
  EXPECT_THAT(error(e.values, blind).message, ::testing::HasSubstr("queries"));
  EXPECT_THAT(error(noise(kTokens, 5, 4), e.context()).message,
              ::testing::HasSubstr("number of columns"));
  e.attention.received(3, 1) = std::numeric_limits<float>::quiet_NaN();
  EXPECT_EQ(error(e.values, e.context()).kind, ErrorKind::numeric);
}

TEST(Focus, DamagedWeightsAreRefused) {
  const Example e;
  const State good = e.fitted({}).value()->save();
  const auto refused = [&](const std::function<void(State&)>& damage) {
    State state = good;
    damage(state);
    auto stage = focus_stage().make({}, 1).value();
    if (!stage->load(state, kHeads * kDim).ok()) return true;
    Rows rows{e.values, {}, false, 0};
    ByteWriter side;
    return !stage->encode(rows, e.context(), side).ok();
  };
  EXPECT_FALSE(refused([](State&) {}));
  EXPECT_TRUE(refused([](State& s) { s.erase("bias"); }));
  EXPECT_TRUE(refused([](State& s) { s["weights"].values[0] = NAN; }));
  const auto resized = [](State& s, size_t weights, size_t heads) {
    s["weights"] = {{weights}, std::vector<float>(weights), Storage::f16};
    s["bias"] = {{heads}, std::vector<float>(heads)};
  };
  EXPECT_FALSE(refused([&](State& s) { resized(s, 16, 2); }));
  EXPECT_TRUE(refused([&](State& s) { resized(s, 0, 0); }));
  EXPECT_TRUE(refused([&](State& s) { resized(s, 0, 2); }));
  EXPECT_TRUE(refused([&](State& s) { resized(s, 15, 2); }));
  EXPECT_TRUE(refused([&](State& s) { resized(s, 14, 2); }));  // inputs of another model
  EXPECT_TRUE(refused([&](State& s) { resized(s, 8, 1); }));   // heads, too
  EXPECT_TRUE(refused([&](State& s) { resized(s, 24, 3); }));
}

}  // namespace
}  // namespace kvsplice::codec
