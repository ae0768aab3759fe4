#include <gtest/gtest.h>

#include <cmath>

#include "codec/transform/klt/coarse_basis_fit.h"
#include "core/random.h"
#include "fit/stage_fit.h"

namespace kvsplice::codec {

StageInfo klt_stage();

namespace {

// Two correlated columns and two that are independent, about a mean.
Matrix<float> example(size_t rows, uint64_t seed) {
  Random random(seed);
  Matrix<float> x(rows, 4);
  for (size_t r = 0; r < rows; ++r) {
    const double a = random.normal(), b = random.normal();
    x(r, 0) = static_cast<float>(5 + 2 * a + 0.1 * b);
    x(r, 1) = static_cast<float>(-1 + 2 * a - 0.1 * b);
    x(r, 2) = static_cast<float>(random.normal());
    x(r, 3) = static_cast<float>(0.5 * random.normal());
  }
  return x;
}

std::unique_ptr<Stage> fitted(const KeyValues& params, const Matrix<float>& x,
                              const FitContext& context) {
  return fit_stage("klt", params, {x, {}, false, 0}, context).value();
}

const Unit kUnit{Kind::value, 0, {2, 2}, {}};
const FitContext kContext{{kUnit, {}, {}}};

TEST(Klt, CoefficientsAreUncorrelatedWithDescendingVariance) {
  const auto x = example(4000, 1);
  const auto stage = fitted({}, x, kContext);
  Rows rows{x, {}, false, 0};
  ByteWriter side;
  ASSERT_TRUE(stage->encode(rows, kContext, side).ok());
  EXPECT_EQ(side.size(), 0u);
  double moment[4][4] = {}, sum[4] = {};
  for (size_t r = 0; r < x.rows(); ++r) {
    for (size_t i = 0; i < 4; ++i) {
      sum[i] += rows.values(r, i) / 4000;
      for (size_t j = 0; j < 4; ++j) moment[i][j] += rows.values(r, i) * rows.values(r, j) / 4000;
    }
  }
  for (size_t i = 0; i < 4; ++i) {
    EXPECT_NEAR(sum[i], 0, 1e-5);
    for (size_t j = 0; j < i; ++j) {
      EXPECT_NEAR(moment[i][j], 0, 1e-5);
      EXPECT_GE(moment[j][j], moment[i][i]);
    }
  }
  // Closed form: the first direction is (1, 1) / sqrt 2 with variance 2 * 2^2, the last (1, -1).
  EXPECT_NEAR(moment[0][0], 8, 0.4);
  EXPECT_NEAR(moment[3][3], 0.02, 0.001);
  EXPECT_NEAR(stage->save().at("basis.0").values[0], std::sqrt(0.5), 0.01);
}

TEST(Klt, ScopeHeadMixesNoHeads) {
  const auto x = example(1000, 2);
  const State state = fitted({{"scope", "head"}}, x, kContext)->save();
  ASSERT_EQ(state.size(), 3u);
  EXPECT_EQ(state.at("basis.0").dims, (std::vector<size_t>{2, 2}));
  EXPECT_EQ(state.at("basis.1").dims, (std::vector<size_t>{2, 2}));
}

TEST(Klt, HeadsShareABasisByTheirNumber) {
  Unit unit = kUnit;
  unit.head_dims = {1, 1, 1, 1};
  const State state =
      fitted({{"scope", "head"}, {"heads", "3"}}, example(1000, 2), FitContext{{unit, {}, {}}})
          ->save();
  ASSERT_EQ(state.size(), 3u);
  EXPECT_EQ(state.at("basis.0").dims, (std::vector<size_t>{3, 3}));
  EXPECT_EQ(state.at("basis.1").dims, (std::vector<size_t>{1, 1}));
  const auto refused = fit_stage("klt", {{"heads", "2"}}, {example(9, 1), {}, false, 0}, kContext);
  ASSERT_FALSE(refused.ok());
  EXPECT_NE(refused.error().message.find("needs scope=head"), std::string::npos);
}

TEST(Klt, RankKeepsTheMeanSquareErrorAtTheDroppedVariance) {
  const auto x = example(4000, 3);
  const auto stage = fitted({{"rank", "2"}}, x, kContext);
  EXPECT_EQ(stage->output_width(4), 2u);
  Rows rows{x, {}, false, 0};
  ByteWriter side;
  ASSERT_TRUE(stage->encode(rows, kContext, side).ok());
  EXPECT_EQ(rows.values.cols(), 2u);
  ByteReader reader({});
  ASSERT_TRUE(stage->decode(rows, x.rows(), kContext, reader).ok());
  double error = 0;
  for (size_t i = 0; i < x.size(); ++i) {
    error += std::pow(x.flat()[i] - rows.values.flat()[i], 2) / double(x.rows());
  }
  EXPECT_NEAR(error, 0.02 + 0.25, 0.02);  // variances of the two smallest components
}

TEST(Klt, RankBeyondTheColumnsNamesTheLegalOnes) {
  for (const auto& [scope, legal] : {std::pair{"head", "1 ... 2"}, {"layer", "1 ... 4"}}) {
    const auto result = fit_stage("klt", {{"scope", scope}, {"rank", "5"}},
                                  {example(10, 4), {}, false, 0}, kContext);
    ASSERT_FALSE(result.ok());
    EXPECT_NE(result.error().message.find(legal), std::string::npos) << result.error().message;
  }
}

TEST(Klt, RefusesBasesThatDoNotCoverTheColumns) {
  const auto stage = fitted({{"scope", "head"}}, example(100, 5), kContext);
  const State good = stage->save();
  auto other = klt_stage().make({}, 2).value();
  State bad = good;
  bad["basis.1"] = {{3, 2}, std::vector<float>(6)};  // more coefficients than columns
  EXPECT_FALSE(other->load(bad, 4).ok());
  bad["basis.1"] = {{2, 3}, std::vector<float>(6)};  // more columns than are left
  EXPECT_FALSE(other->load(bad, 4).ok());
  bad["basis.1"] = {{0, 2}, {}};
  EXPECT_FALSE(other->load(bad, 4).ok());
  EXPECT_TRUE(other->load(good, 4).ok());
}

TEST(Klt, CoarseBasisIsOrthonormalAndNearTheFineOne) {
  Random random(6);
  Matrix<float> x(500, 32);
  for (size_t r = 0; r < x.rows(); ++r) {
    for (size_t c = 0; c < 32; ++c) {  // neighbours overlap
      x(r, c) = static_cast<float>((c > 0 ? x(r, c - 1) : 0) * 0.9 + (1 + c) * random.normal());
    }
  }
  const auto fine = fitted({}, x, kContext)->save().at("basis.0").values;
  const Matrix<float> codes = [&] {
    Matrix<float> basis(32, 32);
    std::copy(fine.begin(), fine.end(), basis.data());
    return basis_codes(basis);
  }();
  const Matrix<float> basis = basis_of_codes(codes).value();
  double farthest = 0, turned = 0;
  for (size_t i = 0; i < 32; ++i) {
    for (size_t j = 0; j < 32; ++j) {
      double dot = i == j ? -1 : 0;
      for (size_t c = 0; c < 32; ++c) dot += double(basis(i, c)) * basis(j, c);
      farthest = std::max(farthest, std::abs(dot));
      turned = std::max(turned, std::abs(double(basis(i, j)) - fine[i * 32 + j]));
    }
  }
  EXPECT_LT(farthest, 2e-6);
  EXPECT_LT(turned, 0.04);
  EXPECT_GT(turned, 1e-3) << "no rounding took place";
}

TEST(Klt, CoarseBasesAreChecked) {
  Matrix<float> codes(2, 2);
  codes(0, 0) = codes(1, 0) = 31;  // the same direction twice
  EXPECT_FALSE(basis_of_codes(codes).ok());
  codes(1, 0) = 0;
  EXPECT_FALSE(basis_of_codes(codes).ok()) << "a row of zeros";
  codes(1, 1) = 12.5;
  EXPECT_FALSE(basis_of_codes(codes).ok());
  codes(1, 1) = 32;
  EXPECT_FALSE(basis_of_codes(codes).ok());
  codes(1, 1) = -31;
  EXPECT_TRUE(basis_of_codes(codes).ok());
}

TEST(Klt, PackedBasesAreThoseThatWereFitted) {
  const auto x = example(500, 7);
  for (const char* scope : {"layer", "head"}) {
    const KeyValues packed = {{"stored", "packed"}, {"scope", scope}};
    const auto stage = fitted(packed, x, kContext);
    const State good = stage->save();
    EXPECT_FALSE(good.contains("basis.0"));
    const auto again = klt_stage().make(packed, 2).value();
    ASSERT_TRUE(again->load(good, 4).ok());
    Rows here{x, {}, false, 0}, there{x, {}, false, 0};
    ByteWriter side;
    ASSERT_TRUE(stage->encode(here, kContext, side).ok());
    ASSERT_TRUE(again->encode(there, kContext, side).ok());
    EXPECT_EQ(here.values, there.values);
    State bad = good;
    bad["sizes"].values[1] = 1;  // columns are left over
    EXPECT_FALSE(again->load(bad, 4).ok());
    bad["sizes"].values[1] = 1e9;
    EXPECT_FALSE(again->load(bad, 4).ok());
    bad = good;
    bad["codes"].values.pop_back();
    bad["codes"].dims[0] -= 1;
    EXPECT_FALSE(again->load(bad, 4).ok());
    bad.erase("codes");
    EXPECT_FALSE(again->load(bad, 4).ok());
  }
}

TEST(Klt, NeedsRowsAndWholeHeads) {
  for (const auto& [rows, columns] : {std::pair{0, 4}, {9, 3}}) {
    const Rows bad{Matrix<float>(rows, columns), {}, false, 0};
    EXPECT_FALSE(fit_stage("klt", {{"scope", "head"}}, bad, kContext).ok()) << rows;
  }
}

}  // namespace
}  // namespace kvsplice::codec
