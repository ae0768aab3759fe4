#include "codec/quantise/step/recall.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "core/random.h"
#include "fit/stage_fit.h"
#include "solve/solve.h"

namespace kvsplice::codec {

StageInfo step_stage();

namespace {

using testing::HasSubstr;

Matrix<float> normal(size_t rows, size_t cols, uint64_t seed, double scale = 1) {
  Random random(seed);
  Matrix<float> m(rows, cols);
  for (float& x : m.flat()) x = static_cast<float>(scale * random.normal());
  return m;
}

std::vector<std::pair<size_t, size_t>> groups(const std::vector<int32_t>& positions, size_t most) {
  std::vector<std::pair<size_t, size_t>> all;
  for (const Group& g : groups_of(positions, most)) all.push_back({g.first, g.count});
  return all;
}

TEST(Recall, GroupsAreRunsOfPositionsUpToALength) {
  using Pairs = std::vector<std::pair<size_t, size_t>>;
  EXPECT_EQ(groups({}, 4), Pairs{});
  EXPECT_EQ(groups({7}, 4), (Pairs{{0, 1}}));
  EXPECT_EQ(groups({4, 5, 6, 7, 8, 9}, 4), (Pairs{{0, 4}, {4, 2}}));
  EXPECT_EQ(groups({4, 5, 4, 5, 6, 8}, 4), (Pairs{{0, 2}, {2, 3}, {5, 1}}));
}

TEST(Recall, DistancesAreAddedUp) {
  const Matrix<float> rows = normal(7, 5, 1);
  Matrix<float> squares(7, 7);
  for (float& x : squares.flat()) x = 1;
  add_squared_distances(rows, 0.5f, squares);
  for (size_t t = 0; t < 7; ++t) {
    for (size_t j = 0; j < 7; ++j) {
      double wanted = 1;
      for (size_t c = 0; j < t && c < 5; ++c) {
        wanted += 0.5 * std::pow(double(rows(t, c)) - rows(j, c), 2);
      }
      EXPECT_NEAR(squares(t, j), wanted, 1e-5) << t << ", " << j;
    }
  }
}

// Rows that have much in common, as keys of wide models do, are as far from each other as without.
TEST(Recall, WhatRowsHaveInCommonDoesNotBlurTheirDistances) {
  const size_t n = 80, cols = 64;
  const Matrix<float> rows = normal(n, cols, 5, 1.0 / 64);  // sums with 512 are exact enough
  Matrix<float> far(n, cols), alone(n, n), together(n, n);
  for (size_t i = 0; i < rows.size(); ++i) {
    far.flat()[i] = 512 + std::round(4096 * rows.flat()[i]) / 4096;
  }
  Matrix<float> near = far;
  for (float& x : near.flat()) x -= 512;
  add_squared_distances(near, 1.f, alone);
  add_squared_distances(far, 1.f, together);
  for (size_t t = 0; t < n; ++t) {
    for (size_t j = 0; j < t; ++j) {
      EXPECT_NEAR(together(t, j), alone(t, j), 1e-5 * alone(t, j)) << t << ", " << j;
    }
  }
  EXPECT_TRUE(mixing(std::move(together), {}).ok());
}

// The textbook's conditional mean, k^T (K + noise I)^-1 y over the rows before.
TEST(Recall, RowsAreExpectedWhereAGaussianProcessExpectsThem) {
  const size_t n = 40;
  const Matrix<float> inputs = normal(n, 6, 2, 0.4), rows = normal(n, 3, 3);
  const Kernel kernel{0.9, 0.25};
  Matrix<float> squares(n, n);
  add_squared_distances(inputs, 1, squares);
  const Matrix<float> mix = mixing(squares, kernel).value();
  const auto alike = [&](size_t t, size_t j) {
    return std::exp(-double(squares(std::max(t, j), std::min(t, j))) / (2 * 0.9 * 0.9));
  };
  Matrix<double> innovations(n, 3);
  double told = 0;
  for (size_t t = 0; t < n; ++t) {
    EXPECT_EQ(mix(t, t), 1);
    for (size_t j = t + 1; j < n; ++j) EXPECT_EQ(mix(t, j), 0);
    Matrix<double> k(t, t), y(t, 3);
    for (size_t a = 0; a < t; ++a) {
      for (size_t b = 0; b < t; ++b) k(a, b) = alike(a, b) + (a == b ? kernel.noise : 0);
      for (size_t c = 0; c < 3; ++c) y(a, c) = rows(a, c);
    }
    if (t > 0) y = solve_spd(k, y).value();
    for (size_t c = 0; c < 3; ++c) {
      double wanted = 0, got = 0;
      for (size_t j = 0; j < t; ++j) wanted += alike(t, j) * y(j, c);
      for (size_t j = 0; j < t; ++j) got += double(mix(t, j)) * innovations(j, c);
      EXPECT_NEAR(got, wanted, 2e-5) << t << ", " << c;
      innovations(t, c) = rows(t, c) - got;
      told += std::abs(wanted);
    }
  }
  EXPECT_GT(told, 1);
}

// Keys of layer 1 whose tokens are few, so that each comes often: what a layer below holds, and
// what is to be coded, depend on the token and on a little noise.
struct Text {
  size_t n;
  Unit unit{Kind::key, 1, {4}, {}};
  Matrix<float> below_keys, below_values, rows;
  std::vector<int32_t> tokens, positions;

  explicit Text(size_t count, bool random_rows = false)
      : n(count), below_keys(n, 6), below_values(n, 6), rows(normal(n, 4, 9, 0.2)) {
    const Matrix<float> of_keys = normal(12, 6, 4), of_values = normal(12, 6, 5);
    const Matrix<float> of_rows = normal(12, 4, 6);
    Random random(7);
    for (size_t i = 0; i < n; ++i) {
      const auto token = static_cast<size_t>(random.uniform() * 12);
      tokens.push_back(int32_t(token));
      positions.push_back(int32_t(i) + 4);
      for (size_t c = 0; c < 6; ++c) {
        below_keys(i, c) = of_keys(token, c) + float(0.05 * random.normal());
        below_values(i, c) = of_values(token, c) + float(0.05 * random.normal());
      }
      const size_t meant = random_rows ? i % 12 : token;
      for (size_t c = 0; c < 4; ++c) rows(i, c) += of_rows(meant, c);
    }
  }

  FitContext context() const {
    FitContext c{{unit, tokens, positions}};
    c.history = {{Kind::key, 0, below_keys}, {Kind::value, 0, below_values}};
    return c;
  }
  FitContext first(size_t count) const {
    FitContext c = context();
    c.tokens = c.tokens.first(count);
    c.positions = c.positions.first(count);
    for (auto& r : c.history) r.rows = r.rows.row_range(0, count);
    return c;
  }
};

std::unique_ptr<Stage> fitted(const Text& text, KeyValues params = {}) {
  if (params.empty() || params.front().first != "recall") params.push_back({"recall", "256"});
  return fit_stage("step", params, {text.rows, {}, false, 0}, text.context()).value();
}

std::unique_ptr<Stage> made(const KeyValues& params) {
  return step_stage().make(params, 2).value();
}

Matrix<int32_t> codes_of(const Stage& stage, const Text& text, const CodeContext& context,
                         size_t n) {
  Rows rows{copy(text.rows.view().row_range(0, n)), {}, false, 0};
  ByteWriter side;
  EXPECT_TRUE(stage.encode(rows, context, side).ok());
  EXPECT_EQ(side.size(), 0u);
  return rows.codes;
}

Matrix<float> decoded(const Stage& stage, const Matrix<int32_t>& codes,
                      const CodeContext& context) {
  Rows rows{{}, codes, true, 0};
  ByteReader side({});
  EXPECT_TRUE(stage.decode(rows, codes.rows(), context, side).ok());
  return rows.values;
}

double mean_magnitude(const Matrix<int32_t>& codes) {
  double sum = 0;
  for (int32_t q : codes.flat()) sum += std::abs(q);
  return sum / double(codes.size());
}

double error(const Matrix<float>& a, const Matrix<float>& b) {
  double sum = 0;
  for (size_t i = 0; i < a.size(); ++i) sum += std::pow(double(a.flat()[i]) - b.flat()[i], 2);
  return std::sqrt(sum / double(a.size()));
}

// The token's own part, variance 1, is told by its earlier rows; what is left has .04. So codes
// shrink about five times, and the error stays that of the step.
TEST(Recall, TokensThatCameBeforeCostLittle) {
  const Text text(300);
  const KeyValues fine = {{"delta", "0.1"}, {"thrift", "0"}, {"offset", "0.5"}};
  const auto with = fitted(text, fine);
  ASSERT_TRUE(with->save().contains("weights"));
  const Matrix<int32_t> codes = codes_of(*with, text, text.context(), text.n);
  const double plain = mean_magnitude([&] {
    State state = with->save();
    state.erase("weights");
    auto without = made(fine);
    EXPECT_TRUE(without->load(state, 4).ok());
    return codes_of(*without, text, text.context(), text.n);
  }());
  EXPECT_LT(mean_magnitude(codes), plain / 2.5);
  EXPECT_GT(mean_magnitude(codes), plain / 6);
  const double step = with->save().at("step").values[0];
  EXPECT_NEAR(error(decoded(*with, codes, text.context()), text.rows) / (step / std::sqrt(12)), 1,
              0.05);
}

TEST(Recall, TheClosedLoopIsWhatTheDecoderMakes) {
  const Text text(300);
  const auto stage = fitted(text, {{"recall", "100"}});
  Matrix<float> kept;
  CodeContext closed = text.context();
  closed.kept = &kept;
  const Matrix<int32_t> codes = codes_of(*stage, text, closed, text.n);
  const Matrix<float> there = decoded(*stage, codes, text.context());
  EXPECT_LT(error(decoded(*stage, codes, closed), there), 1e-6);
  EXPECT_GT(error(there, text.rows), 0.01);
}

TEST(Recall, WhatComesLaterChangesNoCode) {
  const Text text(300);
  const auto stage = fitted(text, {{"recall", "128"}});
  const Matrix<int32_t> all = codes_of(*stage, text, text.context(), text.n);
  for (size_t n : {1u, 127u, 128u, 200u}) {
    const Matrix<int32_t> part = codes_of(*stage, text, text.first(n), n);
    for (size_t i = 0; i < part.size(); ++i) ASSERT_EQ(part.flat()[i], all.flat()[i]) << n;
  }
}

TEST(Recall, WhereLikenessTellsNothingRowsAreCodedAsTheyCome) {
  const Text text(300, true);
  EXPECT_FALSE(fitted(text)->save().contains("weights"));
}

TEST(Recall, AMixingIsKeptForTheValuesOfTheLayer) {
  const Text text(60);
  const auto stage = fitted(text);
  Shared shared;
  CodeContext context = text.context();
  context.shared = &shared;
  const Matrix<int32_t> codes = codes_of(*stage, text, context, text.n);
  const auto& last = shared.of<SharedMixings>().last;
  ASSERT_EQ(last.size(), 1u);
  const auto kept = last.begin()->second;
  const Unit values{Kind::value, 1, {4}, {}}, next{Kind::value, 2, {4}, {}};
  CodeContext of_values{values, text.tokens, text.positions};
  of_values.history = context.history;
  of_values.history.insert(of_values.history.begin(), {Kind::key, 1, text.rows});
  of_values.shared = &shared;
  EXPECT_EQ(codes_of(*stage, text, of_values, text.n), codes);
  EXPECT_EQ(last.begin()->second, kept);
  CodeContext of_next{next, text.tokens, text.positions};
  of_next.history = context.history;
  of_next.shared = &shared;
  EXPECT_EQ(codes_of(*stage, text, of_next, text.n), codes);
  EXPECT_NE(last.begin()->second, kept);
  EXPECT_EQ(codes_of(*stage, text, text.context(), text.n), codes);
}

TEST(Recall, DamagedStatesAndOtherHistoriesAreRefused) {
  const Text text(60);
  const auto stage = fitted(text);
  const State good = stage->save();
  const auto load = [&](State state) { return made({{"recall", "256"}})->load(state, 4); };
  EXPECT_TRUE(load(good).ok());
  EXPECT_THAT(made({})->load(good, 4).error().message, HasSubstr("does not have"));
  State bad = good;
  bad["weights"].values[0] = -1;
  EXPECT_THAT(load(bad).error().message, HasSubstr("negative"));
  bad = good;
  bad["weights"].values[0] = NAN;
  EXPECT_FALSE(load(bad).ok());
  bad = good;
  bad["step"].values[0] = 0;
  EXPECT_THAT(load(bad).error().message, HasSubstr("not positive"));
  bad = good;
  bad.erase("least");
  EXPECT_FALSE(load(bad).ok());
  CodeContext other = text.context();
  other.history.pop_back();
  Rows rows{text.rows, {}, false, 0};
  ByteWriter side;
  EXPECT_THAT(stage->encode(rows, other, side).error().message, HasSubstr("2 units, 1 are there"));
  Rows huge{text.rows, {}, false, 0};
  huge.values(7, 1) = 3e38f;
  EXPECT_THAT(stage->encode(huge, text.context(), side).error().message, HasSubstr("can be coded"));
}

}  // namespace
}  // namespace kvsplice::codec
