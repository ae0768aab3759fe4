#include "report/evaluate_report.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace kvsplice::report {
namespace {

using evaluate::ErrorSums;
using ::testing::HasSubstr;

// Two layers of 4 + 4 values; every decoded value is off by `error` times the original.
EvaluatedCodec made(const std::string& name, float error, bool attention) {
  EvaluatedCodec c{name, "made", {}};
  auto& q = c.quality;
  q.tokens = 100;
  q.sink_tokens = 4;
  q.values_per_token = 16;
  q.bytes = 800;
  q.state_bytes = 1200;
  q.encode_seconds = 0.5;
  q.decode_seconds = 0.25;
  Matrix<float> original(100, 4), decoded(100, 4);
  for (float& v : original.flat()) v = 1;
  for (float& v : decoded.flat()) v = 1 + error;
  for (int layer : {3, 9}) {
    for (Kind kind : {Kind::key, Kind::value}) {
      q.units.push_back({layer, kind, {}, 200});
      EXPECT_TRUE(q.units.back().errors.add(original, decoded, 4).ok());
    }
    if (!attention) continue;
    ErrorSums sums;
    sums.add(original, decoded);
    q.attention.push_back({layer, sums, {}, sums});
  }
  return c;
}

const Cell& cell(const Table& table, size_t row, const std::string& name) {
  for (size_t c = 0; c < table.columns().size(); ++c) {
    if (table.columns()[c].name == name) return table.rows().at(row)[c];
  }
  static const Cell none;
  ADD_FAILURE() << table.name() << " has no column " << name;
  return none;
}

double number(const Table& table, size_t row, const std::string& name) {
  const double* value = std::get_if<double>(&cell(table, row, name));
  EXPECT_NE(value, nullptr) << name;
  return value ? *value : 0;
}

bool is_empty(const Cell& c) { return std::holds_alternative<std::monostate>(c); }

TEST(EvaluateTable, PutsFiguresUnderTheirNames) {
  const Table table = evaluate_table({made("a", 0.25f, true), made("b", 0.5f, true)});
  ASSERT_EQ(table.rows().size(), 2);
  for (const auto& row : table.rows()) EXPECT_EQ(row.size(), table.columns().size());
  EXPECT_DOUBLE_EQ(number(table, 0, "bits_per_value"), 4);
  EXPECT_DOUBLE_EQ(number(table, 0, "ratio"), 4);
  EXPECT_DOUBLE_EQ(number(table, 0, "ratio_with_sinks"), (3200.0 + 128) / (800 + 128));
  EXPECT_DOUBLE_EQ(number(table, 0, "attention_error"), 0.25);
  EXPECT_DOUBLE_EQ(number(table, 1, "attention_error_key_only"), 0.5);
  EXPECT_DOUBLE_EQ(number(table, 1, "attention_error_value_only"), 0);
  EXPECT_DOUBLE_EQ(number(table, 1, "value_relative_rms_error"), 0.5);
  EXPECT_NEAR(number(table, 0, "key_cosine_mean"), 1, 1e-12);
  EXPECT_DOUBLE_EQ(number(table, 0, "payback_tokens"), 1200 / 24.0);
  EXPECT_DOUBLE_EQ(number(table, 0, "encode_tokens_per_second"), 200);
  EXPECT_DOUBLE_EQ(number(table, 0, "decode_mb_per_second"), 3200 / 1e6 / 0.25);
  EXPECT_TRUE(is_empty(cell(table, 0, "key_entropy_bits_per_value")));
}

TEST(EvaluateTable, LeavesOutWhatWasNotMeasured) {
  EvaluatedCodec c = made("a", 0.25f, false);
  c.quality.bytes = 4000;
  const Table table = evaluate_table({c});
  EXPECT_TRUE(is_empty(cell(table, 0, "attention_error")));
  EXPECT_TRUE(is_empty(cell(table, 0, "payback_tokens")));
}

TEST(EvaluateLayersTable, HasARowPerCodecLayerAndKind) {
  EvaluatedCodec joined = made("b", 0.5f, false);
  for (auto& unit : joined.quality.units) unit.bytes = 0;
  const Table table = evaluate_layers_table({made("a", 0.25f, true), joined});
  ASSERT_EQ(table.rows().size(), 8);
  for (const auto& row : table.rows()) EXPECT_EQ(row.size(), table.columns().size());
  EXPECT_EQ(std::get<int64_t>(cell(table, 2, "layer")), 9);
  EXPECT_EQ(std::get<std::string>(cell(table, 3, "kind")), "value");
  EXPECT_DOUBLE_EQ(number(table, 0, "bits_per_value"), 4);
  EXPECT_DOUBLE_EQ(number(table, 0, "attention_error_alone"), 0.25);
  EXPECT_DOUBLE_EQ(number(table, 1, "attention_error_alone"), 0);
  EXPECT_DOUBLE_EQ(number(table, 1, "attention_error"), 0.25);
  EXPECT_TRUE(is_empty(cell(table, 4, "bits_per_value")));
  EXPECT_TRUE(is_empty(cell(table, 4, "attention_error")));
}

TEST(EvaluateFigure, LeavesOutExactCodecs) {
  const Figure figure = evaluate_figure({made("a", 0.25f, true), made("exact", 0, true)});
  ASSERT_EQ(figure.panels.size(), 2);
  ASSERT_EQ(figure.panels[0].series.size(), 1);
  EXPECT_EQ(figure.panels[0].series[0].x, (std::vector<double>{4}));
  EXPECT_EQ(figure.panels[1].series[0].x, (std::vector<double>{3, 9}));
  EXPECT_EQ(figure.panels[1].series[0].y, (std::vector<double>{0.25, 0.25}));
}

TEST(EvaluateFigure, ShowsVectorsWithoutQueries) {
  const Figure figure = evaluate_figure({made("a", 0.25f, false)});
  EXPECT_THAT(figure.caption, HasSubstr("no queries"));
  EXPECT_DOUBLE_EQ(figure.panels[0].series[0].y[0], 0.25);
}

TEST(EvaluateFindings, NameTheFiguresAndWhatIsMissing) {
  const auto with = evaluate_findings({made("a", 0.25f, true)});
  ASSERT_EQ(with.size(), 1);
  EXPECT_THAT(with[0], HasSubstr("a: 4.00 bits per value (4.0x smaller than f16); attention "
                                 "outputs off by 25.0 % (keys alone 25.0 %, values alone 0.0 %)"));
  EXPECT_THAT(with[0], HasSubstr("paid back after 50 tokens"));
  EvaluatedCodec c = made("b", 0.25f, false);
  EXPECT_THAT(evaluate_findings({c})[0], HasSubstr("the dump holds no queries"));
  c.quality.bytes = 4000;
  EXPECT_THAT(evaluate_findings({c})[0], HasSubstr("side data never pay"));
  c.quality.state_bytes = 0;
  EXPECT_THAT(evaluate_findings({c})[0], HasSubstr("no side data"));
}

TEST(AddEvaluation, WritesFilesEvenIfEverythingIsExact) {
  for (float error : {0.25f, 0.0f}) {
    const std::filesystem::path dir = ::testing::TempDir() + "evaluate_report_test";
    auto results = Results::create(dir, "evaluate", "kvsplice evaluate");
    ASSERT_TRUE(results.ok());
    const auto added = add_evaluation({made("a", error, true)}, *results);
    ASSERT_TRUE(added.ok()) << added.error().message;
    ASSERT_TRUE(results->finish().ok());
    for (const char* file : {"evaluate.csv", "evaluate_layers.json", "evaluate_errors.svg"}) {
      EXPECT_TRUE(std::filesystem::exists(dir / file)) << file;
    }
    std::filesystem::remove_all(dir);
  }
}

}  // namespace
}  // namespace kvsplice::report
