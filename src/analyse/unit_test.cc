#include "analyse/unit.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>

#include "analyse/sequence.h"
#include "analyse/testing.h"
#include "core/threads.h"

namespace kvsplice::analyse {
namespace {

using namespace testing;
using ::testing::HasSubstr;

// Two heads side by side.
Matrix<float> beside(const Matrix<float>& a, const Matrix<float>& b) {
  Matrix<float> both(a.rows(), a.cols() + b.cols());
  for (size_t r = 0; r < a.rows(); ++r) {
    std::copy_n(a.row(r).begin(), a.cols(), both.row(r).begin());
    std::copy_n(b.row(r).begin(), b.cols(), both.row(r).begin() + a.cols());
  }
  return both;
}

UnitAnalysis analysed(const Matrix<float>& rows, size_t head_dim, std::vector<size_t> lengths) {
  auto unit = analyse_unit(rows, head_dim, Texts(std::move(lengths)));
  EXPECT_TRUE(unit.ok());
  return unit.ok() ? *unit : UnitAnalysis{};
}

TEST(Texts, RolesRestartWithEveryText) {
  const Texts texts({100, 64});
  ASSERT_EQ(texts.rows(), 164);
  using Role = Texts::Role;
  for (size_t first : {0, 100}) {
    EXPECT_EQ(texts.roles()[first + 3], Role::sink);
    EXPECT_EQ(texts.roles()[first + 4], Role::fit);
    EXPECT_EQ(texts.roles()[first + 31], Role::fit);
    EXPECT_EQ(texts.roles()[first + 32], Role::test);
    EXPECT_EQ(texts.roles()[first + 63], Role::test);
  }
  EXPECT_EQ(texts.dft(64).size(), 64);
}

TEST(AnalyseUnit, TellsHeadsApart) {
  const auto unit = analysed(beside(ar1(4096, 16, 0.9, 1), white(4096, 16, 2)), 16, {4096});
  ASSERT_EQ(unit.heads.size(), 2);
  EXPECT_EQ(unit.heads[1].head, 1);
  EXPECT_NEAR(unit.heads[0].lag1(), 0.9, 0.02);
  EXPECT_NEAR(unit.heads[1].lag1(), 0, 0.02);
  EXPECT_GT(unit.heads[0].low10(), 0.7);
  EXPECT_NEAR(unit.heads[1].low10(), 0.1, 0.01);
  EXPECT_NEAR(unit.layer.lag1, (unit.heads[0].lag1() + unit.heads[1].lag1()) / 2, 1e-12);
}

TEST(AnalyseUnit, AveragesOverTextsAndDoesNotLookAcrossThem) {
  // Two texts at different levels: taken as one sequence the step would look like memory.
  Matrix<float> rows = white(1000, 4, 3);
  for (size_t r = 500; r < 1000; ++r) {
    for (float& v : rows.row(r)) v += 10;
  }
  EXPECT_NEAR(analysed(rows, 4, {500, 500}).heads[0].lag1(), 0, 0.06);
  EXPECT_GT(analysed(rows, 4, {1000}).heads[0].lag1(), 0.9);
}

TEST(AnalyseUnit, RankCountsTheMeanAndSpectrumDoesNot) {
  Matrix<float> rows = white(512, 8, 4);
  for (float& v : rows.flat()) v = 1000 + v;
  const auto unit = analysed(rows, 8, {512});
  EXPECT_EQ(unit.heads[0].rank.effective, 1);
  EXPECT_EQ(unit.heads[0].rank.full, 8);
  EXPECT_GT(unit.heads[0].mean_share, 0.999);
  EXPECT_LT(unit.heads[0].spectrum[0], 0.2);
}

TEST(AnalyseUnit, RankOfKnownRank) {
  const Matrix<float> factors = white(256, 2, 5);
  Matrix<float> rows(256, 8);
  for (size_t r = 0; r < 256; ++r) {
    for (size_t c = 0; c < 8; ++c) {
      rows(r, c) = factors(r, 0) * float(c) + factors(r, 1) * float(7 - c);
    }
  }
  EXPECT_EQ(analysed(rows, 8, {256}).heads[0].rank.effective, 2);
}

TEST(AnalyseUnit, SharedHeadsPayOffOnlyInTheLayerScope) {
  const Matrix<float> one = white(4096, 8, 6);
  const auto twins = analysed(beside(one, one), 8, {4096}).layer;
  EXPECT_NEAR(twins.coordinate.bits[1], twins.head.bits[1], 0.01);
  // Half of the coordinates carry twice the variance, the others none.
  EXPECT_NEAR(twins.whole.bits[1], twins.head.bits[1] / 2, 0.01);
  const auto strangers = analysed(beside(one, white(4096, 8, 7)), 8, {4096}).layer;
  EXPECT_NEAR(strangers.whole.bits[1], strangers.head.bits[1], 0.01);
}

TEST(AnalyseUnit, SinksDoNotEnterTransformsAndMeans) {
  Matrix<float> rows = white(256, 4, 8);
  const auto before = analysed(rows, 4, {256});
  for (size_t r = 0; r < kSinks; ++r) rows(r, 0) = 500;
  const auto after = analysed(rows, 4, {256});
  EXPECT_EQ(after.heads[0].mean_share, before.heads[0].mean_share);
  EXPECT_EQ(after.heads[0].kurtosis, before.heads[0].kurtosis);
  EXPECT_EQ(after.layer.whole.bits, before.layer.whole.bits);
  EXPECT_GT(after.heads[0].rank.top1, before.heads[0].rank.top1);
}

TEST(AnalyseUnit, DoesNotDependOnTheNumberOfThreads) {
  const auto rows = ar1(300, 24, 0.5, 9);
  const int threads = thread_count();
  set_thread_count(1);
  const auto one = analysed(rows, 8, {200, 100});
  set_thread_count(4);
  const auto four = analysed(rows, 8, {200, 100});
  set_thread_count(threads);
  for (size_t h = 0; h < 3; ++h) {
    EXPECT_EQ(one.heads[h].autocorrelation, four.heads[h].autocorrelation);
    EXPECT_EQ(one.heads[h].klt.bits, four.heads[h].klt.bits);
    EXPECT_EQ(one.heads[h].rank.ratio, four.heads[h].rank.ratio);
  }
}

TEST(AnalyseUnit, NamesTheFirstValueThatIsNotFinite) {
  Matrix<float> rows = white(64, 4, 10);
  rows(7, 2) = std::numeric_limits<float>::quiet_NaN();
  const auto unit = analyse_unit(rows, 4, Texts({64}));
  ASSERT_FALSE(unit.ok());
  EXPECT_EQ(unit.error().kind, ErrorKind::numeric);
  EXPECT_THAT(unit.error().message, HasSubstr("row 7, column 2"));
}

TEST(AnalyseUnit, ZerosAreFiniteEverywhere) {
  const auto unit = analysed(Matrix<float>(64, 4), 4, {64});
  EXPECT_EQ(unit.heads[0].lag1(), 0);
  EXPECT_EQ(unit.heads[0].rank.effective, 0);
  EXPECT_EQ(unit.heads[0].mean_share, 0);
  EXPECT_EQ(unit.layer.whole.bits[0], 0);
}

}  // namespace
}  // namespace kvsplice::analyse
