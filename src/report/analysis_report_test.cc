#include "report/analysis_report.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <numeric>

namespace kvsplice::report {
namespace {

using namespace analyse;
using host::Signal;
using ::testing::HasSubstr;

// Two layers of two heads, stored keys and values; layer l has a lag-1 autocorrelation of l / 10.
Analysis made() {
  Analysis a;
  a.tokens = 1000;
  a.texts = 2;
  for (Signal signal : {Signal::key, Signal::value}) {
    SignalAnalysis sum;
    sum.signal = signal;
    sum.lag1 = 0.6;
    sum.low10 = 0.45;
    sum.joint = true;
    sum.fit_rows = sum.joint_fit_rows = 500;
    sum.head_width = 4;
    sum.layer_width = 8;
    sum.joint_rows = 1000;
    sum.joint_width = 16;
    sum.layer.bits = {3, 2, 1};
    sum.spectrum.assign(16, 1.0 / 16);
    for (int l : {5, 7}) {
      LayerAnalysis layer;
      layer.signal = signal;
      layer.layer = l;
      layer.lag1 = l / 10.0;
      layer.spectrum = {0.5, 0.3, 0.1, 0.1, 0, 0, 0, 0};
      for (int h : {0, 1}) {
        HeadAnalysis head;
        head.signal = signal;
        head.layer = l;
        head.head = h;
        head.autocorrelation.assign(kLags + 1, l / 10.0);
        head.autocorrelation[0] = 1;
        head.spectrum = {0.7, 0.2, 0.1, 0};
        a.heads.push_back(head);
      }
      a.layers.push_back(layer);
    }
    a.signals.push_back(sum);
  }
  return a;
}

size_t column(const Table& table, const std::string& name) {
  for (size_t c = 0; c < table.columns().size(); ++c) {
    if (table.columns()[c].name == name) return c;
  }
  ADD_FAILURE() << table.name() << " has no column " << name;
  return 0;
}

template <class T>
T cell(const Table& table, size_t row, const std::string& name) {
  return std::get<T>(table.rows().at(row)[column(table, name)]);
}

TEST(AnalysisTables, HaveARowForEachThingAndACellForEachColumn) {
  const Analysis a = made();
  const std::pair<Table, size_t> expected[] = {{analysis_summary_table(a), 2},
                                               {analysis_scopes_table(a), 2 * 4},
                                               {analysis_layers_table(a), 2 * 2},
                                               {analysis_heads_table(a), 2 * 2 * 2}};
  for (const auto& [table, rows] : expected) {
    EXPECT_EQ(table.rows().size(), rows) << table.name();
    for (const auto& row : table.rows()) EXPECT_EQ(row.size(), table.columns().size());
  }
}

TEST(AnalysisTables, PutFiguresUnderTheirNames) {
  const Analysis a = made();
  const Table summary = analysis_summary_table(a);
  EXPECT_EQ(cell<std::string>(summary, 0, "signal"), "k");
  EXPECT_EQ(cell<std::string>(summary, 0, "lag1_label"), "GOOD");
  EXPECT_EQ(cell<std::string>(summary, 0, "low_10_percent_label"), "CONCERNING");
  EXPECT_NEAR(cell<double>(summary, 0, "ar1_gain_bits"), 0.5 * std::log2(1 / 0.64), 1e-12);
  const Table heads = analysis_heads_table(a);
  EXPECT_EQ(cell<int64_t>(heads, 2, "layer"), 7);
  EXPECT_EQ(cell<double>(heads, 2, "lag1_autocorrelation"), 0.7);
  EXPECT_EQ(cell<double>(heads, 2, "lag50_autocorrelation"), 0.7);
  EXPECT_EQ(cell<int64_t>(heads, 0, "components_90_percent"), 2);
  const Table layers = analysis_layers_table(a);
  EXPECT_EQ(cell<int64_t>(layers, 0, "components_99_percent"), 4);
  const Table scopes = analysis_scopes_table(a);
  EXPECT_EQ(cell<double>(scopes, 2, "bits_at_5_percent"), 2);
  EXPECT_EQ(cell<int64_t>(scopes, 3, "width"), 16);
}

TEST(SpectraTable, SamplesRanksAndAccumulates) {
  const Table table = spectra_table(made());
  // 8 heads of 4 components at ranks 1 2 3 4; 4 layers of 8 at 1 2 3 4 6 8; 2 models of 16 at
  // 1 2 3 4 6 8 12 16.
  ASSERT_EQ(table.rows().size(), 8 * 4 + 4 * 6 + 2 * 8);
  EXPECT_EQ(cell<int64_t>(table, 2, "component"), 3);
  EXPECT_NEAR(cell<double>(table, 2, "cumulative"), 1.0, 1e-12);
  EXPECT_EQ(cell<double>(table, 1, "share"), 0.2);
  const size_t last = table.rows().size() - 1;
  EXPECT_EQ(cell<int64_t>(table, last, "component"), 16);
  EXPECT_NEAR(cell<double>(table, last, "cumulative"), 1.0, 1e-12);
}

TEST(StructureFigure, ShowsEverySignalInFourPanels) {
  const Figure figure = structure_figure(made());
  ASSERT_EQ(figure.panels.size(), 4);
  EXPECT_EQ(figure.columns, 2);
  const Series& keys = figure.panels[0].series[0];
  EXPECT_EQ(keys.x, (std::vector<double>{5, 7}));
  EXPECT_EQ(keys.y, (std::vector<double>{0.5, 0.7}));
  const Series& decay = figure.panels[2].series[0];
  ASSERT_EQ(decay.y.size(), kLags + 1);
  EXPECT_NEAR(decay.y[0], 1, 1e-12);
  EXPECT_NEAR(decay.y[50], 0.6, 1e-12);
  EXPECT_THAT(figure.caption, HasSubstr("1000 tokens of 2 texts"));
}

TEST(SpectraFigure, ShowsVarianceLeftByShareOfComponents) {
  const Figure figure = spectra_figure(made());
  ASSERT_EQ(figure.panels.size(), 3);  // keys, values, means
  const Series& head = figure.panels[0].series[0];
  EXPECT_EQ(head.x, (std::vector<double>{0, 0.25, 0.5}));
  EXPECT_NEAR(head.y[1], 0.3, 1e-12);
  EXPECT_NEAR(head.y[2], 0.1, 1e-12);
  for (const Panel& panel : figure.panels) {
    for (const Series& s : panel.series) EXPECT_EQ(s.x.size(), s.y.size());
  }
}

TEST(AnalysisFindings, BeginWithTheVerdict) {
  Analysis a = made();
  EXPECT_THAT(analysis_findings(a).at(0), HasSubstr("MIXED by the NeRF-Attention study's rule"));
  a.signals.erase(a.signals.begin());
  for (const auto& line : analysis_findings(a))
    EXPECT_THAT(line, ::testing::Not(HasSubstr("rule")));
}

TEST(AddAnalysis, WritesTablesFiguresAndManifest) {
  const std::filesystem::path dir = ::testing::TempDir() + "analysis_report_test";
  auto results = Results::create(dir, "analyse", "kvsplice analyse");
  ASSERT_TRUE(results.ok());
  const auto added = add_analysis(made(), *results);
  ASSERT_TRUE(added.ok()) << added.error().message;
  ASSERT_TRUE(results->finish().ok());
  for (const char* file :
       {"summary.csv", "scopes.csv", "layers.csv", "analysis.csv", "analysis.json", "spectra.csv",
        "structure.svg", "structure.png", "principal_components.svg", "manifest.json"}) {
    EXPECT_TRUE(std::filesystem::exists(dir / file)) << file;
  }
  std::filesystem::remove_all(dir);
}

}  // namespace
}  // namespace kvsplice::report
