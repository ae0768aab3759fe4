#include <fmt/format.h>

#include <algorithm>

#include "experiments/storage/outputs.h"

namespace kvsplice::experiment::storage {

namespace {

using report::Figure;
using report::Panel;
using report::Series;

std::string series_of(const Measured& m) {
  if (m.outcome.pipeline.empty()) return "llama.cpp";
  return m.method.substr(0, m.method.find('('));
}

Panel rates_panel(const std::vector<Measured>& rows, const std::string& text, int ctx) {
  Panel panel;
  panel.title = fmt::format("{}, {} tokens", text, ctx);
  panel.x_label = "bits per value, as stored";
  panel.y_label = "mean KLD (nats)";
  panel.log_x = panel.log_y = true;
  for (const Measured& m : rows) {
    if (m.text != text || m.ctx != ctx || m.outcome.bits_per_value <= 0) continue;
    if (m.method == "f16") continue;
    const std::string label = series_of(m);
    if (panel.series.empty() || panel.series.back().label != label) {
      panel.series.push_back({label, {}, {}, {}, Series::Style::line_points, {}});
    }
    Series& series = panel.series.back();
    series.x.push_back(m.outcome.bits_per_value);
    series.y.push_back(m.outcome.kld_mean);
    series.notes.push_back(label == "llama.cpp" ? m.name() : "");
  }
  const auto is_floor = [&](const Measured& m) {
    return m.name() == "floor" && m.text == text && m.ctx == ctx;
  };
  const auto floor = std::find_if(rows.begin(), rows.end(), is_floor);
  if (floor != rows.end()) {
    const double y = floor->outcome.kld_mean;
    panel.series.push_back({"noise floor", {0.5, 8.5}, {y, y}, {}, Series::Style::line, {}});
  }
  return panel;
}

Figure rates_figure(const Study& study) {
  Figure figure;
  figure.name = "rate_curves";
  figure.caption =
      "Mean divergence from the f16 cache against real stored bits per value; lower left is "
      "better. "
      "Points of a line are steps of the quantiser.";
  for (int ctx : study.options.ctx) {
    std::vector<std::string> texts;
    for (const Measured& m : study.rates) {
      if (std::find(texts.begin(), texts.end(), m.text) == texts.end()) texts.push_back(m.text);
    }
    for (const auto& text : texts) figure.panels.push_back(rates_panel(study.rates, text, ctx));
    figure.columns = int(texts.size());
  }
  return figure;
}

// Bars of a figure's mean over rows that belong to one name.
class Bars {
 public:
  explicit Bars(const std::string& title, const std::string& y_label) {
    panel_.title = title;
    panel_.y_label = y_label;
  }
  // Sums are kept as mean of what was added so far.
  void add(const std::string& label, const std::string& name, double value) {
    const size_t tick = place(panel_.ticks, name);
    const auto found = std::find_if(panel_.series.begin(), panel_.series.end(),
                                    [&](const Series& s) { return s.label == label; });
    const size_t at = size_t(found - panel_.series.begin());
    if (found == panel_.series.end()) {
      panel_.series.push_back({label, {}, {}, {}, Series::Style::bars, {}});
      counts_.emplace_back();
    }
    auto& y = panel_.series[at].y;
    y.resize(std::max(y.size(), tick + 1));
    counts_[at].resize(y.size());
    y[tick] += (value - y[tick]) / ++counts_[at][tick];
  }
  const Panel& panel() const { return panel_; }

 private:
  static size_t place(std::vector<std::string>& names, const std::string& name) {
    const auto found = std::find(names.begin(), names.end(), name);
    if (found != names.end()) return size_t(found - names.begin());
    names.push_back(name);
    return names.size() - 1;
  }
  Panel panel_;
  std::vector<std::vector<double>> counts_;
};

Figure prompts_figure(const Study& study) {
  Bars tokens("Values retrieved by their keys", "tokens right (%)");
  for (const Restored& r : study.retrieval) {
    for (double share : r.share) {
      tokens.add(fmt::format("{} tokens", r.prompt_tokens), r.cache, 100 * share);
    }
  }
  Bars until("Greedy decoding", "tokens as with f16, until the first that differs");
  for (const Restored& r : study.greedy) {
    until.add(r.text, r.cache, double(r.until_divergence[0]));
  }
  Figure figure;
  figure.name = "prompts";
  figure.caption =
      "What the model does behind a restored prompt; means over questions and over prompts.";
  if (!study.retrieval.empty()) figure.panels.push_back(tokens.panel());
  if (!study.greedy.empty()) figure.panels.push_back(until.panel());
  return figure;
}

Figure calibration_figure(const Study& study) {
  Bars kld("Divergence", "mean KLD (nats)"), bits("Rate", "bits per value");
  for (const Measured& m : study.calibration) {
    kld.add(m.text, m.method, m.outcome.kld_mean);
    bits.add(m.text, m.method, m.outcome.bits_per_value);
  }
  return {
      "calibration_size",
      "The same pipeline fitted on parts of the calibration rows, and on one kind of text only.",
      {kld.panel(), bits.panel()},
      1};
}

}  // namespace

std::vector<Figure> figures(const Study& study) {
  std::vector<Figure> all;
  if (!study.rates.empty()) all.push_back(rates_figure(study));
  if (!study.retrieval.empty() || !study.greedy.empty()) all.push_back(prompts_figure(study));
  if (!study.calibration.empty()) all.push_back(calibration_figure(study));
  return all;
}

}  // namespace kvsplice::experiment::storage
