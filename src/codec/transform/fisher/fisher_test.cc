// What conformance cannot say of `fisher`: that its matrices are the powers of the information they
// are said to be, and that these pay.
#include <gmock/gmock.h>

#include <cmath>
#include <functional>
#include <limits>

#include "core/random.h"
#include "fit/stage_fit.h"
#include "solve/solve.h"

namespace kvsplice::codec {

StageInfo fisher_stage();

namespace {

constexpr int kDim = 6;
constexpr size_t kWidth = 2 * kDim;

Matrix<float> noise(size_t rows, size_t cols, uint64_t seed) {
  Random random(seed);
  Matrix<float> x(rows, cols);
  for (float& v : x.flat()) v = static_cast<float>(random.normal());
  return x;
}

// Q diag(values) Q^T with Q the reflection at a vector of ones: a matrix with known powers.
Matrix<double> reflected(const std::vector<double>& values) {
  const size_t n = values.size();
  const auto q = [&](size_t i, size_t j) { return (i == j) - 2 / double(n); };
  Matrix<double> a(n, n);
  for (size_t i = 0; i < n; ++i) {
    for (size_t j = 0; j < n; ++j) {
      for (size_t k = 0; k < n; ++k) a(i, j) += q(i, k) * values[k] * q(j, k);
    }
  }
  return a;
}

Matrix<double> diagonal(const std::vector<double>& values) {
  Matrix<double> a(values.size(), values.size());
  for (size_t i = 0; i < values.size(); ++i) a(i, i) = values[i];
  return a;
}

std::vector<double> powers(std::vector<double> values, double mean, double floor, double power) {
  for (double& v : values) v = std::pow(v / mean + floor, power);
  return values;
}

double log_det(const Matrix<float>& a) {
  const Matrix<float> l = cholesky(a).value();
  double sum = 0;
  for (size_t i = 0; i < l.rows(); ++i) sum += 2 * std::log(l(i, i));
  return sum;
}

// Two heads, one of which matters ten times as much.
struct Example {
  Example() { information.heads = {reflected(first), reflected(second)}; }
  FitContext context() const {
    FitContext c{{unit, {}, {}}};
    c.rms = rms;
    c.information = &information;
    return c;
  }
  Result<std::unique_ptr<Stage>> fitted(const KeyValues& params) const {
    return fit_stage("fisher", params, {rows, {}, false, 0}, context());
  }
  Matrix<float> encoded(const Stage& stage, Matrix<float> x) const {
    Rows coded{std::move(x), {}, false, 0};
    ByteWriter side;
    EXPECT_TRUE(stage.encode(coded, context(), side).ok());
    EXPECT_TRUE(side.bytes().empty());
    return coded.values;
  }
  Matrix<float> decoded(const Stage& stage, Matrix<float> y) const {
    Rows coded{std::move(y), {}, false, 0};
    const Bytes none;
    ByteReader side(none);
    EXPECT_TRUE(stage.decode(coded, coded.values.rows(), context(), side).ok());
    return coded.values;
  }
  // The matrix of all heads, which encoding unit vectors shows.
  Matrix<float> matrix(const KeyValues& params) const {
    Matrix<float> unit_vectors(kWidth, kWidth);
    for (size_t i = 0; i < kWidth; ++i) unit_vectors(i, i) = 1;
    return encoded(*fitted(params).value(), unit_vectors);
  }

  std::vector<double> first = {6, 1, 0.5, 3, 0.2, 1.3}, second = {40, 10, 3, 7, 20, 40};
  double mean = 11;  // of the twelve
  Unit unit{Kind::value, 0, {kDim, kDim}, {}};
  Information information;
  double rms = 0.1;
  Matrix<float> rows = noise(50, kWidth, 1);
};

TEST(Fisher, OfADiagonalIsItsPower) {
  Example e;
  e.information.heads = {diagonal(e.first), diagonal(e.second)};
  const auto a = e.matrix({{"power", "0.5"}, {"units", "0"}, {"floor", "0.1"}});
  std::vector<double> wanted = powers(e.first, e.mean, 0.1, 0.5);
  for (double v : powers(e.second, e.mean, 0.1, 0.5)) wanted.push_back(v);
  double product = 1;
  for (double v : wanted) product *= v;
  const double norm = std::pow(product, 1.0 / kWidth);
  for (size_t i = 0; i < kWidth; ++i) {
    // Half a code of the largest of the head.
    EXPECT_NEAR(a(i, i), wanted[i] / norm, 0.51 / 127 * a(i / kDim * kDim, i / kDim * kDim)) << i;
    for (size_t j = 0; j < kWidth; ++j) EXPECT_TRUE(i == j || a(i, j) == 0) << i << " " << j;
  }
}

TEST(Fisher, IsThePowerButForRounding) {
  const Example e;
  const auto a = e.matrix({{"power", "0.25"}, {"units", "0"}, {"floor", "0.03"}});
  double log_norm = 0;
  std::vector<Matrix<double>> exact;
  for (const auto& values : {e.first, e.second}) {
    const auto wanted = powers(values, e.mean, 0.03, 0.25);
    for (double v : wanted) log_norm += std::log(v) / kWidth;
    exact.push_back(reflected(wanted));
  }
  for (size_t h = 0; h < 2; ++h) {
    double peak = 0, worst = 0;
    for (size_t i = 0; i < kDim; ++i) {
      for (size_t j = 0; j < kDim; ++j) {
        const double wanted = exact[h](i, j) / std::exp(log_norm);
        peak = std::max(peak, std::abs(wanted));
        worst = std::max(worst, std::abs(a(h * kDim + i, h * kDim + j) - wanted));
        EXPECT_EQ(a(h * kDim + i, (1 - h) * kDim + j), 0);
      }
    }
    EXPECT_LT(worst, 0.5001 * peak / 127);
    EXPECT_GT(worst, 0.2 * peak / 127);  // of 21 codes one is that far off
  }
}

TEST(Fisher, KeepsTheVolumeOfTheUnitButNotOfAHead) {
  const Example e;
  const auto a = e.matrix({{"power", "0.5"}, {"units", "0"}});
  EXPECT_NEAR(log_det(a), 0, 0.05);
  const auto head = copy(a.view().row_range(kDim, kDim).col_range(kDim, kDim));
  EXPECT_GT(log_det(head), 2);
  EXPECT_LT(log_det(head), 6);
}

TEST(Fisher, UnitsFollowWhatTheyMatter) {
  Example e;
  const Matrix<float> plain = e.matrix({{"units", "0"}});
  const auto factor = [&](double times_typical, const char* units) {
    e.rms = std::sqrt(0.065 * times_typical / (e.mean * kWidth));
    return e.matrix({{"units", units}})(0, 0) / plain(0, 0);
  };
  EXPECT_NEAR(factor(1, "0.5"), 1, 1e-5);
  EXPECT_NEAR(factor(2, "0.5"), std::sqrt(2), 1e-5);
  EXPECT_NEAR(factor(2, "0.25"), std::pow(2, 0.25), 1e-5);
  EXPECT_NEAR(factor(1. / 3, "0.5"), std::sqrt(1. / 3), 1e-5);
  EXPECT_NEAR(factor(1000, "0.5"), 2.5, 1e-5);
  EXPECT_NEAR(factor(1e-8, "0.5"), 0.4, 1e-5);
  EXPECT_NEAR(factor(0, "0.5"), 1, 1e-5);
  EXPECT_NEAR(factor(1000, "0"), 1, 1e-5);
}

TEST(Fisher, DecodingUndoesIt) {
  const Example e;
  for (const char* power : {"0", "0.25", "0.5"}) {
    const auto stage = e.fitted({{"power", power}}).value();
    auto loaded = fisher_stage().make({{"power", power}}, 1).value();
    ASSERT_TRUE(loaded->load(stage->save(), kWidth).ok());
    const Matrix<float> y = e.encoded(*stage, e.rows), x = e.decoded(*loaded, y);
    EXPECT_EQ(e.encoded(*loaded, e.rows), y);
    double error = 0, energy = 0;
    for (size_t i = 0; i < x.size(); ++i) {
      error += std::pow(x.flat()[i] - e.rows.flat()[i], 2);
      energy += std::pow(e.rows.flat()[i], 2);
    }
    EXPECT_LT(std::sqrt(error / energy), 1e-4) << power;
  }
}

// White noise behind the stage costs the geometric mean of the information per column, and would
// cost the arithmetic mean without it.
TEST(Fisher, SavesTheArithmeticOverTheGeometricMean) {
  const Example e;
  const auto stage = e.fitted({{"power", "0.5"}, {"units", "0"}, {"floor", "0.000001"}}).value();
  constexpr size_t kRows = 6000;
  const Matrix<float> x = noise(kRows, kWidth, 7), n = noise(kRows, kWidth, 8);
  const auto cost = [&](const Matrix<float>& made) {
    double sum = 0;
    for (size_t r = 0; r < kRows; ++r) {
      for (size_t i = 0; i < kWidth; ++i) {
        for (size_t j = i / kDim * kDim; j < (i / kDim + 1) * kDim; ++j) {
          sum += double(made(r, i) - x(r, i)) * double(made(r, j) - x(r, j)) *
                 e.information.heads[i / kDim](i % kDim, j % kDim);
        }
      }
    }
    return sum / double(kRows * kWidth);
  };
  const auto noisy = [&](Matrix<float> y) {
    for (size_t i = 0; i < y.size(); ++i) y.flat()[i] += n.flat()[i];
    return y;
  };
  double log_mean = 0;
  for (const auto& values : {e.first, e.second}) {
    for (double v : values) log_mean += std::log(v) / kWidth;
  }
  EXPECT_NEAR(cost(noisy(x)) / e.mean, 1, 0.03);
  EXPECT_NEAR(cost(e.decoded(*stage, noisy(e.encoded(*stage, x)))) / std::exp(log_mean), 1, 0.03);
  EXPECT_LT(std::exp(log_mean) / e.mean, 0.4);  // it is a gain
}

// Eigenvalues of 1e-3 and less of the largest do not survive rounding, but are not to be lost.
TEST(Fisher, InformationInOneDirectionGivesAMatrixThatCanBeInverted) {
  Example e;
  e.information.heads = {reflected({5, 0, 0, 0, 0, 0}), reflected({-1e-3, 5, 0, 0, 0, 0})};
  const KeyValues params = {{"power", "0.5"}, {"floor", "0.000001"}, {"units", "0"}};
  const auto stage = e.fitted(params).value();
  const Matrix<float> x = e.decoded(*stage, e.encoded(*stage, e.rows));
  for (size_t i = 0; i < x.size(); ++i) ASSERT_NEAR(x.flat()[i], e.rows.flat()[i], 1e-3);
  const Matrix<float> a = e.matrix(params);
  for (size_t h = 0; h < 2; ++h) {
    Matrix<double> head(kDim, kDim);
    for (size_t i = 0; i < kDim; ++i) {
      for (size_t j = 0; j < kDim; ++j) head(i, j) = a(h * kDim + i, h * kDim + j);
    }
    const auto values = symmetric_eigen(head).value().values;
    EXPECT_LT(values[0] / values[kDim - 1], 1000);
    EXPECT_GT(values[0] / values[1], 10);
  }
}

TEST(Fisher, WithoutInformationRowsPass) {
  Example e;
  for (Matrix<double>& head : e.information.heads) head = Matrix<double>(kDim, kDim);
  const auto stage = e.fitted({}).value();
  EXPECT_TRUE(stage->save().empty());
  EXPECT_EQ(e.encoded(*stage, e.rows), e.rows);
  EXPECT_EQ(e.decoded(*stage, e.rows), e.rows);
  auto loaded = fisher_stage().make({}, 1).value();
  ASSERT_TRUE(loaded->load({}, kWidth).ok());
  EXPECT_EQ(e.encoded(*loaded, e.rows), e.rows);
  // One head of two may have none.
  e.information.heads[1] = reflected(e.second);
  const Matrix<float> a = e.matrix({{"units", "0"}});
  EXPECT_GT(a(0, 0), 0.3);
  EXPECT_LT(a(0, 0), 0.8);
  EXPECT_EQ(a(1, 0), 0);
}

TEST(Fisher, AsksForInformation) {
  EXPECT_TRUE(fisher_stage().traits({}).information);
  EXPECT_FALSE(fisher_stage().traits({}).attention);
  const KeyValues off = {{"power", "0"}, {"units", "0"}};
  EXPECT_FALSE(fisher_stage().traits(off).information);
  Example blind;
  FitContext context = blind.context();
  context.information = nullptr;
  const auto stage = fit_stage("fisher", off, {blind.rows, {}, false, 0}, context).value();
  EXPECT_EQ(blind.encoded(*stage, blind.rows), blind.rows);
}

TEST(Fisher, RefusesWhatDoesNotFit) {
  const Example e;
  const auto refusal = [](const Example& bad) { return bad.fitted({}).error(); };
  FitContext blind = e.context();
  blind.information = nullptr;
  const Error error = fit_stage("fisher", {}, {e.rows, {}, false, 0}, blind).error();
  EXPECT_EQ(error.kind, ErrorKind::usage);
  EXPECT_THAT(error.message, ::testing::HasSubstr("calibrate"));
  Example narrow;
  narrow.rows = noise(50, 5, 2);
  EXPECT_THAT(refusal(narrow).message, ::testing::HasSubstr("number of columns"));
  EXPECT_EQ(refusal(narrow).kind, ErrorKind::usage);
  Example missing;
  missing.information.heads.pop_back();
  EXPECT_EQ(refusal(missing).kind, ErrorKind::mismatch);
  Example larger;
  larger.information.heads[1] = Matrix<double>(kDim + 1, kDim + 1);
  EXPECT_EQ(refusal(larger).kind, ErrorKind::mismatch);
  Example oblong;
  oblong.information.heads[1] = Matrix<double>(kDim, kDim - 1);
  EXPECT_EQ(refusal(oblong).kind, ErrorKind::mismatch);
  for (double bad :
       {std::numeric_limits<double>::quiet_NaN(), std::numeric_limits<double>::infinity()}) {
    Example damaged;
    damaged.information.heads[0](2, 2) = bad;
    EXPECT_EQ(refusal(damaged).kind, ErrorKind::numeric);
  }
  const auto good = e.fitted({}).value();
  Rows rows{noise(3, kWidth + 1, 2), {}, false, 0};
  ByteWriter side;
  EXPECT_FALSE(good->encode(rows, e.context(), side).ok());
}

TEST(Fisher, DamagedMatricesAreRefused) {
  const Example e;
  const State good = e.fitted({}).value()->save();
  ASSERT_EQ(good.at("codes").values.size(), 2u * 21);
  ASSERT_EQ(good.at("codes").storage, Storage::i8);
  const auto refused = [&](const std::function<void(State&)>& damage) {
    State state = good;
    damage(state);
    auto stage = fisher_stage().make({}, 1).value();
    const auto loaded = stage->load(state, kWidth);
    if (loaded.ok()) return false;
    EXPECT_EQ(loaded.error().kind, ErrorKind::format);
    return true;
  };
  const auto sized = [&](std::vector<float> sizes) {
    return refused([&](State& s) { s["sizes"] = {{sizes.size()}, sizes}; });
  };
  const auto with = [&](const char* name, size_t at, float value) {
    return refused([&](State& s) { s[name].values[at] = value; });
  };
  EXPECT_FALSE(refused([](State&) {}));
  for (const char* name : {"sizes", "scales", "codes"}) {
    EXPECT_TRUE(refused([&](State& s) { s.erase(name); })) << name;
    EXPECT_TRUE(with(name, 0, NAN)) << name;
  }
  EXPECT_FALSE(sized({6, 6}));
  EXPECT_TRUE(sized({}));
  EXPECT_TRUE(sized({12}));
  EXPECT_TRUE(sized({6, 5}));
  EXPECT_TRUE(sized({7, 5}));
  EXPECT_TRUE(sized({5.5, 6.5}));
  EXPECT_TRUE(sized({6, 6, 0}));
  EXPECT_TRUE(sized({6, 6, 1}));
  EXPECT_TRUE(sized({18, -6}));
  EXPECT_TRUE(sized({1e30f, 6}));
  EXPECT_TRUE(refused([](State& s) { s["codes"] = {{41}, std::vector<float>(41, 1)}; }));
  EXPECT_TRUE(refused([](State& s) { s["scales"] = {{1}, {1}}; }));
  for (float scale : {0.f, -1.f, 1e-30f, 1e38f}) EXPECT_TRUE(with("scales", 1, scale)) << scale;
  EXPECT_TRUE(with("codes", 0, 0));     // not definite
  EXPECT_TRUE(with("codes", 0, -100));  // nor this
  EXPECT_TRUE(with("codes", 1, 127));
  EXPECT_TRUE(with("codes", 0, 128));
  EXPECT_TRUE(with("codes", 3, 0.5));
}

}  // namespace
}  // namespace kvsplice::codec
