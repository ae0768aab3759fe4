#include <fmt/format.h>

#include <algorithm>
#include <functional>

#include "analyse/findings.h"
#include "report/analysis_report.h"

namespace kvsplice::report {

namespace {

using namespace analyse;

Series by_layer(const Analysis& analysis, host::Signal signal, double LayerAnalysis::*value) {
  Series series{plain_name(signal), {}, {}, {}, Series::Style::line_points, {}};
  for (const LayerAnalysis& l : analysis.layers) {
    if (l.signal != signal) continue;
    series.x.push_back(l.layer);
    series.y.push_back(l.*value);
  }
  return series;
}

Panel layer_panel(const Analysis& analysis, const std::string& title, const std::string& y_label,
                  double LayerAnalysis::*value) {
  Panel panel{title, "layer", y_label, {}};
  for (const auto& s : analysis.signals) {
    panel.series.push_back(by_layer(analysis, s.signal, value));
  }
  return panel;
}

// A dashed-out line across the layers of a panel.
void add_threshold(Panel& panel, const std::string& label, double value) {
  if (panel.series.empty() || panel.series[0].x.empty()) return;
  const auto& x = panel.series[0].x;
  panel.series.push_back(
      {label, {x.front(), x.back()}, {value, value}, {}, Series::Style::line, {}});
}

Panel decay_panel(const Analysis& analysis) {
  Panel panel{"Decay of the autocorrelation", "lag (tokens)", "autocorrelation", {}};
  for (const auto& s : analysis.signals) {
    Series series{plain_name(s.signal), {}, std::vector<double>(kLags + 1)};
    size_t heads = 0;
    for (const HeadAnalysis& h : analysis.heads) {
      if (h.signal != s.signal) continue;
      ++heads;
      for (size_t lag = 0; lag <= kLags; ++lag) series.y[lag] += h.autocorrelation[lag];
    }
    for (size_t lag = 0; lag <= kLags; ++lag) {
      series.x.push_back(double(lag));
      series.y[lag] /= double(std::max<size_t>(heads, 1));
    }
    panel.series.push_back(std::move(series));
  }
  return panel;
}

// Mean of spectra of one length; those of another length are left out.
template <class Item>
std::vector<double> mean_spectrum(const std::vector<Item>& items, host::Signal signal) {
  std::vector<double> mean;
  size_t count = 0;
  for (const Item& item : items) {
    if (item.signal != signal) continue;
    if (mean.empty()) mean.resize(item.spectrum.size());
    if (item.spectrum.size() != mean.size()) continue;
    ++count;
    for (size_t i = 0; i < mean.size(); ++i) mean[i] += item.spectrum[i];
  }
  for (double& v : mean) v /= double(std::max<size_t>(count, 1));
  return mean;
}

// Variance that is left behind the first components, by the share of components kept. The last one
// leaves nothing, which a logarithm cannot show.
Series residual(const std::string& label, const std::vector<double>& spectrum, size_t width) {
  Series series{label, {}, {}};
  double left = 1;
  for (size_t i = 0; i < spectrum.size(); ++i) {
    series.x.push_back(double(i) / double(width));
    series.y.push_back(left);
    left -= spectrum[i];
    if (left < 1e-4) break;
  }
  return series;
}

Panel spectrum_panel(const Analysis& analysis, const SignalAnalysis& s) {
  Panel panel{fmt::format("Principal components: {}", plain_name(s.signal)),
              "share of components kept",
              "variance left",
              {}};
  panel.log_y = true;
  const auto head = mean_spectrum(analysis.heads, s.signal);
  const auto layer = mean_spectrum(analysis.layers, s.signal);
  panel.series.push_back(residual("each head", head, head.size()));
  panel.series.push_back(residual("each layer", layer, layer.size()));
  if (s.joint) panel.series.push_back(residual("all layers", s.spectrum, s.joint_width));
  return panel;
}

std::string data_of(const Analysis& analysis) {
  return fmt::format("{} tokens of {} text{}", analysis.tokens, analysis.texts,
                     analysis.texts == 1 ? "" : "s");
}

}  // namespace

Figure structure_figure(const Analysis& analysis) {
  Panel lag1 = layer_panel(analysis, "Autocorrelation by layer", "lag-1 autocorrelation",
                           &LayerAnalysis::lag1);
  add_threshold(lag1, "good above", 0.5);
  add_threshold(lag1, "bad below", 0.2);
  Panel low = layer_panel(analysis, "Spectral concentration by layer", "energy in the lowest 10 %",
                          &LayerAnalysis::low10);
  add_threshold(low, "good above", 0.5);
  return {"structure",
          fmt::format("Structure along the text, means over heads, {}. White noise would show 0 in "
                      "the first panel and 0.1 in the second.",
                      data_of(analysis)),
          {std::move(lag1), std::move(low), decay_panel(analysis),
           layer_panel(analysis, "Effective rank by layer", "effective rank / full rank",
                       &LayerAnalysis::rank_ratio)},
          2};
}

Figure spectra_figure(const Analysis& analysis) {
  Figure figure{"principal_components", {}, {}, 2};
  for (const auto& s : analysis.signals) figure.panels.push_back(spectrum_panel(analysis, s));
  figure.panels.push_back(layer_panel(analysis, "Energy of the mean by layer",
                                      "share of the energy", &LayerAnalysis::mean_share));
  figure.caption = fmt::format(
      "Variance left behind the first principal components, by what shares a basis, and the share "
      "of the mean in the energy, {}; the first {} tokens of a text are left out.",
      data_of(analysis), kSinks);
  for (const auto& s : analysis.signals) {
    if (!s.joint || s.joint_rows >= s.joint_width) continue;
    figure.caption += fmt::format(" All layers: {} rows of {} values, so the curve ends early.",
                                  s.joint_rows, s.joint_width);
    break;
  }
  return figure;
}

}  // namespace kvsplice::report
