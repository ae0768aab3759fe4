#include <fmt/format.h>

#include "experiments/kvsplice/outputs.h"

namespace kvsplice::experiment {

namespace {

using report::Figure;
using report::Panel;
using report::Series;

constexpr double kWin = 5e-4;  // a fall of the error by more than this share is named

Panel comparison(const std::string& name, const StudyOptions& options, const WarpErrors& warps,
                 const Errors& errors) {
  Series plain, warped;
  plain.label = "PCA";
  warped.label = name + " and PCA";
  plain.style = warped.style = Series::Style::line_points;
  for (size_t i = 0; i < options.k.size(); ++i) {
    plain.x.push_back(options.k[i]);
    plain.y.push_back(warps.pca[i]);
    warped.x.push_back(options.k[i]);
    warped.y.push_back(errors.mean(i));
    warped.error.push_back(errors.deviation(i));
    const double win = 1 - errors.mean(i) / warps.pca[i];
    warped.notes.push_back(win > kWin ? fmt::format("-{:.2f} %", 100 * win) : "");
  }
  Panel panel;
  panel.title = name + " before PCA";
  panel.x_label = "components kept (k)";
  panel.y_label = "test MSE";
  panel.log_y = true;
  panel.series = {plain, warped};
  return panel;
}

}  // namespace

Figure compression_comparison(const StudyOptions& options, const WarpErrors& warps) {
  Figure figure;
  figure.name = "compression_comparison";
  figure.caption = fmt::format(
      "Test error of PCA on GeometricMix, plain and behind a learned warp (mean of {} "
      "trainings). Falls of more than 0.05 % are named.",
      warps.spline.by_seed.size());
  figure.panels = {comparison("Spline", options, warps, warps.spline),
                   comparison("Flow", options, warps, warps.flow)};
  figure.columns = 2;
  return figure;
}

Figure improvement_delta(const StudyOptions& options, const WarpErrors& warps) {
  Panel panel;
  panel.title = "Change of the test error by a warp";
  panel.x_label = "components kept (k)";
  panel.y_label = "MSE - MSE of PCA, x 1e-6";
  for (int k : options.k) panel.ticks.push_back(std::to_string(k));
  for (const auto& [name, errors] :
       {std::pair{"spline", &warps.spline}, std::pair{"flow", &warps.flow}}) {
    Series series;
    series.label = name;
    series.style = Series::Style::bars;
    for (size_t i = 0; i < options.k.size(); ++i) {
      series.y.push_back(1e6 * (errors->mean(i) - warps.pca[i]));
      series.error.push_back(1e6 * errors->deviation(i));
    }
    panel.series.push_back(series);
  }
  Figure figure;
  figure.name = "improvement_delta";
  figure.caption = "Below zero the warp helps. Bars: mean over trainings; whiskers: deviation.";
  figure.panels = {panel};
  return figure;
}

Figure own_ranks_figure(const std::vector<OwnRankRow>& rows) {
  const std::pair<const char*, double OwnRankRow::*> lines[] = {
      {"PCA", &OwnRankRow::pca},
      {"spline and PCA", &OwnRankRow::spline},
      {"flow and PCA", &OwnRankRow::flow},
      {"noise", &OwnRankRow::floor}};
  Panel panel;
  panel.title = "Warps trained through the rank they are tested at";
  panel.x_label = "components kept (k)";
  panel.y_label = "test MSE";
  panel.log_y = true;
  for (const auto& [label, error] : lines) {
    Series series;
    series.label = label;
    series.style = Series::Style::line_points;
    for (const auto& r : rows) {
      series.x.push_back(double(r.rank));
      series.y.push_back(r.*error);
    }
    panel.series.push_back(series);
  }
  Figure figure;
  figure.name = "own_rank_errors";
  figure.caption =
      "Test error on GeometricMix. The seed trains its warps through 16 components, where the rows "
      "are at their noise and nothing is left to learn; below, a warp trained for the rank helps.";
  figure.panels = {panel};
  return figure;
}

Figure memory_reduction(const std::vector<MemoryRow>& rows) {
  Series bytes, state;
  bytes.label = "block";
  state.label = "state shared by all blocks";
  bytes.style = state.style = Series::Style::bars;
  Panel panel;
  panel.title = "Values of one head, 256 tokens x 64";
  panel.y_label = "bytes";
  for (const auto& r : rows) {
    panel.ticks.push_back(r.what);
    bytes.y.push_back(r.bytes);
    state.y.push_back(r.state_bytes);
    bytes.notes.push_back(fmt::format("{:.0f}", r.bytes));
  }
  panel.series = {bytes, state};
  Figure figure;
  figure.name = "memory_reduction";
  figure.caption =
      "The seed's ablation counts columns of pruned f32 values; measured are encoded blocks of "
      "f16 coordinates, headers and all, with the codec's state beside them.";
  figure.panels = {panel};
  return figure;
}

Figure architecture_diagram(size_t dim, const StudyOptions& options) {
  const double d = double(dim), k = options.rank;
  Series numbers;
  numbers.label = "numbers of a vector";
  numbers.style = Series::Style::bars;
  numbers.y = {d, d, k, k, d, d};
  for (double n : numbers.y) numbers.notes.push_back(fmt::format("{:.0f}", n));
  Panel panel;
  panel.title = "From a vector to its store and back";
  panel.y_label = "numbers";
  panel.ticks = {"vector x", "warp(x)", "PCA: encode", "stored", "PCA: decode", "inverse warp"};
  panel.series = {numbers};
  Figure figure;
  figure.name = "architecture_diagram";
  figure.caption =
      "What travels through the pipeline: the warp is invertible and keeps all columns; only the "
      "PCA behind it drops some, and training aims at what then comes back.";
  figure.panels = {panel};
  return figure;
}

}  // namespace kvsplice::experiment
