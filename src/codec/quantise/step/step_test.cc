#include <gtest/gtest.h>

#include <cmath>
#include <map>

#include "codec/quantise/step/dead_zone_kernel.h"
#include "core/random.h"
#include "fit/stage_fit.h"
#include "simd/target.h"

namespace kvsplice::codec {

StageInfo step_stage();

namespace {

const Unit kUnit{Kind::key, 0, {2}, {}};

Rows gaussian(size_t n, double scale, double mean) {
  Random random(1);
  Rows rows{Matrix<float>(n, 2), {}, false, 0};
  for (float& x : rows.values.flat()) x = static_cast<float>(mean + scale * random.normal());
  return rows;
}

std::unique_ptr<Stage> fitted(const KeyValues& params, const Rows& rows, double unit_rms = 0) {
  FitContext context{{kUnit, {}, {}}};
  context.rms = unit_rms;
  return fit_stage("step", params, rows, context).value();
}

float fitted_step(const KeyValues& params, const Rows& rows, double unit_rms) {
  return fitted(params, rows, unit_rms)->save().at("step").values[0];
}

TEST(Step, IsRelativeToTheUnitOrToTheRows) {
  const Rows rows = gaussian(20000, 3, 10);
  EXPECT_NEAR(fitted_step({{"delta", "0.5"}}, rows, 7), 3.5, 1e-6);
  EXPECT_NEAR(fitted_step({{"delta", "0.5"}, {"of", "rows"}}, rows, 7), 1.5, 0.03);
  EXPECT_NEAR(fitted_step({{"delta", "0.5"}}, rows, 0), 1.5, 0.03);  // the unit's is not known
}

TEST(Step, RoundsWithTheOffset) {
  const auto stage = step_stage().make({}, 2).value();
  ASSERT_TRUE(stage->load({{"step", {{1}, {0.5f}}}, {"least", {{2}, {0.6f, 0.6f}}}}, 2).ok());
  Rows rows{Matrix<float>(4, 2), {}, false, 0};
  const float x[] = {0.29f, 0.31f, -0.29f, -0.31f, 0.79f, 0.81f, -10.f, 0.f};
  const int32_t codes[] = {0, 1, 0, -1, 1, 2, -20, 0};
  std::copy(std::begin(x), std::end(x), rows.values.data());
  const CodeContext context{kUnit, {}, {}};
  ByteWriter side;
  ASSERT_TRUE(stage->encode(rows, context, side).ok());
  for (size_t i = 0; i < 8; ++i) EXPECT_EQ(rows.codes.flat()[i], codes[i]) << x[i];
  EXPECT_EQ(rows.code_bits, 0);
  ByteReader reader({});
  ASSERT_TRUE(stage->decode(rows, 4, context, reader).ok());
  for (size_t i = 0; i < 8; ++i) EXPECT_EQ(rows.values.flat()[i], 0.5f * float(codes[i]));
}

TEST(DeadZoneKernel, EverySimdTargetGivesTheCodesOfTheReference) {
  Random random(3);
  for (size_t n : {0, 1, 5, 16, 37}) {
    for (float odd : {0.f, 1e20f, -1e20f, float(NAN), float(INFINITY)}) {
      std::vector<float> values(n), least(n);
      for (float& v : values) v = float(2 * random.normal());
      for (float& v : least) v = float(0.5 + random.uniform());
      if (n > 0) values[n / 2] = odd;
      std::vector<int32_t> wanted(n), got(n);
      dead_zone_kernel::Row row{n, 0.7f, 0.4f, least.data(), values.data(), wanted.data()};
      const bool fit = dead_zone_kernel::reference::quantise(row);
      EXPECT_EQ(fit, n == 0 || odd == 0);
      row.codes = got.data();
      for_each_simd_target([&](const std::string& name) {
        EXPECT_EQ(dead_zone_kernel::quantise(row), fit) << name;
        if (fit) {
          EXPECT_EQ(got, wanted) << name;
        }
      });
    }
  }
}

// For a step far below the rms, rounding to nearest loses step^2 / 12.
TEST(Step, FineStepsLoseATwelfthOfTheirSquare) {
  const Rows before = gaussian(50000, 1, 0);
  Rows rows = before;
  const auto stage = fitted({{"delta", "0.05"}, {"offset", "0.5"}}, rows);
  const CodeContext context{kUnit, {}, {}};
  const double step = stage->save().at("step").values[0];
  ByteWriter side;
  ASSERT_TRUE(stage->encode(rows, context, side).ok());
  ByteReader reader({});
  ASSERT_TRUE(stage->decode(rows, 50000, context, reader).ok());
  double error = 0;
  for (size_t i = 0; i < 100000; ++i) {
    error += std::pow(rows.values.flat()[i] - before.values.flat()[i], 2) / 100000;
  }
  EXPECT_NEAR(error / (step * step / 12), 1, 0.02);
}

// Rows of two columns, one about as large as the step and one in which 1 is rare.
Rows loud_and_quiet(size_t n) {
  Rows rows = gaussian(n, 1, 0);
  for (size_t r = 0; r < n; ++r) rows.values(r, 1) *= 0.35f;
  return rows;
}

struct Cost {
  double error = 0;  // squared steps per value
  double bits = 0;   // empirical entropy per value
};

Cost cost_of(const KeyValues& params, const Rows& before) {
  const auto stage = fitted(params, before, 1);
  const CodeContext context{kUnit, {}, {}};
  Rows rows = before;
  ByteWriter side;
  EXPECT_TRUE(stage->encode(rows, context, side).ok());
  Cost cost;
  const double n = double(rows.codes.size());
  for (size_t c = 0; c < 2; ++c) {
    std::map<int32_t, double> counts;
    for (size_t r = 0; r < rows.codes.rows(); ++r) ++counts[rows.codes(r, c)];
    for (const auto& [code, count] : counts) {
      cost.bits -= count / n * std::log2(count / double(rows.codes.rows()));
    }
  }
  const double step = stage->save().at("step").values[0];
  for (size_t i = 0; i < rows.codes.size(); ++i) {
    const double left = before.values.flat()[i] / step - rows.codes.flat()[i];
    cost.error += left * left / n;
  }
  return cost;
}

TEST(Step, ThriftSavesMoreBitsThanItsErrorIsWorth) {
  const Rows rows = loud_and_quiet(50000);
  const Cost plain = cost_of({{"delta", "1"}, {"thrift", "0"}}, rows);
  const Cost thrifty = cost_of({{"delta", "1"}, {"thrift", "0.1"}}, rows);
  EXPECT_LT(thrifty.bits, 0.97 * plain.bits);
  EXPECT_GT(thrifty.bits, 0.80 * plain.bits);
  EXPECT_GT(thrifty.error, plain.error);
  EXPECT_LT(thrifty.error + 0.116 * thrifty.bits, plain.error + 0.116 * plain.bits);
}

TEST(Step, ThriftKeepsOneAsOne) {
  const Rows rows = loud_and_quiet(1000);
  for (const char* thrift : {"0", "0.1", "1"}) {
    const State state = fitted({{"thrift", thrift}}, rows)->save();
    for (float least : state.at("least").values) {
      EXPECT_GE(least, 0.599f);
      EXPECT_LE(least, 1.f);
    }
  }
}

TEST(Step, TooManyStepsAreAnErrorAndConstantRowsAreNot) {
  const auto stage = step_stage().make({}, 2).value();
  const CodeContext context{kUnit, {}, {}};
  Rows constant{Matrix<float>(5, 2), {}, false, 0};
  ASSERT_TRUE(fit_stage("step", {}, constant, FitContext{context}).ok());
  ASSERT_TRUE(stage->load({{"step", {{1}, {1e-6f}}}, {"least", {{2}, {0.6f, 0.6f}}}}, 2).ok());
  ByteWriter side;
  Rows far = constant;
  far.values(3, 1) = 1e5f;
  const auto result = stage->encode(far, context, side);
  ASSERT_FALSE(result.ok());
  EXPECT_NE(result.error().message.find("row 3, column 1"), std::string::npos);
}

}  // namespace
}  // namespace kvsplice::codec
