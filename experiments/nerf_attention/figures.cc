#include <fmt/format.h>

#include <algorithm>
#include <set>

#include "experiments/nerf_attention/study.h"

namespace kvsplice::experiment::nerf {

namespace {

using report::Figure;
using report::Panel;
using report::Series;

constexpr Signal kStored[] = {Signal::key, Signal::value};
const char* plural(Signal signal) { return signal == Signal::key ? "keys" : "values"; }

Series series(const std::string& label, Series::Style style = Series::Style::line_points) {
  Series s;
  s.label = label;
  s.style = style;
  return s;
}

void add(Series& s, double x, const Spread& y) {
  if (y.count() == 0) return;
  s.x.push_back(x);
  s.y.push_back(y.mean());
  s.error.push_back(y.deviation());
}

Spread of_config(const Study& study, const std::string& config, Signal signal) {
  return cosines(study, study.jobs.sweep,
                 [&](const FitJob& j) { return j.config == config && j.signal == signal; });
}

Spread of_svd(const Study& study, double target, Signal signal) {
  return cosines(study.svd,
                 [&](const Baseline& b) { return b.target == target && b.signal == signal; });
}

// Cosine against honest ratio.
Panel pareto_panel(const Study& study, Signal signal) {
  Panel panel;
  panel.title = fmt::format("Cosine of {} against ratio", plural(signal));
  panel.x_label = "f16 bytes / stored bytes";
  panel.y_label = "mean cosine";
  panel.log_x = true;
  Series networks = series("sine networks", Series::Style::points);
  for (const auto& config : study.options.networks()) {
    for (const FitJob& job : study.jobs.sweep) {
      if (job.config != config || job.signal != signal) continue;
      add(networks, study.record(job).ratio(), of_config(study, config, signal));
      networks.notes.push_back(config);
      break;
    }
  }
  Series svd = series("SVD");
  for (double target : {2., 4., 8., 16.}) add(svd, target, of_svd(study, target, signal));
  Series dct = series("cosine basis");
  std::set<size_t> sizes;
  for (const Baseline& b : study.closed) {
    if (b.method == "dct" && b.signal == signal) sizes.insert(b.numbers);
  }
  for (size_t numbers : sizes) {
    const auto wanted = [&](const Baseline& b) {
      return b.method == "dct" && b.signal == signal && b.numbers == numbers;
    };
    const auto one = std::find_if(study.closed.begin(), study.closed.end(), wanted);
    add(dct, one->ratio(), cosines(study.closed, wanted));
  }
  panel.series = {networks, svd, dct};
  return panel;
}

Panel kinds_panel(const Study& study) {
  Panel panel;
  panel.title = "Keys and values by configuration";
  panel.y_label = "mean cosine";
  panel.ticks = study.options.networks();
  for (Signal signal : kStored) {
    Series bars = series(plural(signal), Series::Style::bars);
    for (const auto& config : study.options.networks()) {
      const Spread cosine = of_config(study, config, signal);
      bars.y.push_back(cosine.mean());
      bars.error.push_back(cosine.deviation());
    }
    panel.series.push_back(bars);
  }
  return panel;
}

Panel means_panel(const Study& study) {
  Panel panel;
  panel.title = "Stored keys: rotated mean and medium network";
  panel.x_label = "mean cosine of the rotated mean";
  panel.y_label = "mean cosine of the network";
  Series points = series("layers and heads", Series::Style::points), same = series("equal");
  same.style = Series::Style::line;
  double least = 1;
  for (const auto& m : means_against_networks(study, "medium")) {
    points.x.push_back(m.rotated_mean);
    points.y.push_back(m.network);
    least = std::min({least, m.rotated_mean, m.network});
  }
  same.x = same.y = {least, 1};
  panel.series = {points, same};
  return panel;
}

// Relative error by position and its rolling mean over eight runs.
Panel position_panel(const Study& study, const FitJob& job) {
  const FitRecord& record = study.record(job);
  Panel panel;
  panel.title = job.name();
  panel.x_label = "position";
  panel.y_label = "relative error";
  Series error = series("mean of a run", Series::Style::points);
  Series rolling = series("rolling mean", Series::Style::line);
  const auto& y = record.position_error;
  for (size_t i = 0; i < y.size(); ++i) {
    const double x = (double(i) + 0.5) * double(record.tokens) / double(y.size());
    error.x.push_back(x);
    error.y.push_back(y[i]);
    const size_t begin = i >= 4 ? i - 4 : 0, end = std::min(y.size(), i + 4);
    double sum = 0;
    for (size_t k = begin; k < end; ++k) sum += y[k];
    rolling.x.push_back(x);
    rolling.y.push_back(sum / double(end - begin));
  }
  panel.series = {error, rolling};
  return panel;
}

Figure position_figure(const Study& study) {
  Figure figure;
  figure.name = "position_error";
  figure.caption = "Error of the medium network along the text, first and last layer.";
  figure.columns = 2;
  const auto& layers = study.sources.places.sweep_layers;
  for (int layer : {layers.front(), layers.back()}) {
    for (const FitJob& job : study.jobs.sweep) {
      if (job.layer == layer && job.head == 0 && job.config == "medium" && job.seed == 0) {
        figure.panels.push_back(position_panel(study, job));
      }
    }
  }
  return figure;
}

Panel latency_panel(const Study& study) {
  Panel panel;
  panel.title = "Forward pass and memory read, one head's keys";
  panel.y_label = "microseconds";
  panel.log_y = true;
  Series forward = series("network", Series::Style::bars), here = series("read, this machine"),
         rtx = series("read, RTX 4060"), h100 = series("read, H100");
  for (Series* s : {&here, &rtx, &h100}) s->style = Series::Style::bars;
  const size_t tokens = study.sources.main->tokens();
  for (const Forward& f : study.latency.forward) {
    if (f.tokens != tokens) continue;
    panel.ticks.push_back(f.config);
    forward.y.push_back(f.forward_us);
    here.y.push_back(f.read_us);
    rtx.y.push_back(f.rtx4060_us);
    h100.y.push_back(f.h100_us);
  }
  panel.series = {forward, here, rtx, h100};
  return panel;
}

// Attention over computed positions as multiples of the read, longest text.
Panel attention_panel(const Study& study) {
  Panel panel;
  panel.title = "Attention of one layer as a multiple of reading f16";
  panel.y_label = "time / read time";
  panel.log_y = true;
  Series here = series("this machine", Series::Style::bars), h100 = series("H100, roofline");
  h100.style = Series::Style::bars;
  size_t longest = 0;
  for (const Attention& a : study.latency.attention) longest = std::max(longest, a.tokens);
  for (const Attention& a : study.latency.attention) {
    if (a.tokens != longest) continue;
    panel.ticks.push_back(a.config + (a.method == "networks evaluated" ? ": evaluated"
                                      : a.method == "absorbed"         ? ": absorbed"
                                                                       : ": shared"));
    here.y.push_back(a.us / a.read_us);
    h100.y.push_back(a.h100_us / a.h100_read_us);
  }
  panel.series = {here, h100};
  return panel;
}

Panel scaling_panel(const Study& study) {
  Panel panel;
  panel.title = "Medium network by length of the text";
  panel.x_label = "tokens";
  panel.y_label = "mean cosine";
  panel.log_x = true;
  std::set<size_t> lengths;
  for (const FitJob& job : study.jobs.scaling) lengths.insert(job.tokens);
  for (Signal signal : kStored) {
    Series line = series(plural(signal));
    for (size_t tokens : lengths) {
      add(line, double(tokens), cosines(study, study.jobs.scaling, [&](const FitJob& j) {
            return j.tokens == tokens && j.signal == signal;
          }));
    }
    panel.series.push_back(line);
  }
  return panel;
}

Panel crossover_panel(const Study& study) {
  Panel panel;
  panel.title = "Medium network: forward pass and read by length";
  panel.x_label = "tokens";
  panel.y_label = "microseconds";
  panel.log_x = panel.log_y = true;
  Series forward = series("network"), here = series("read, this machine"),
         h100 = series("read, H100");
  std::map<size_t, const Forward*> by_length;
  for (const Forward& f : study.latency.forward) {
    if (f.config == "medium") by_length[f.tokens] = &f;
  }
  for (const auto& [tokens, f] : by_length) {
    for (Series* s : {&forward, &here, &h100}) s->x.push_back(double(tokens));
    forward.y.push_back(f->forward_us);
    here.y.push_back(f->read_us);
    h100.y.push_back(f->h100_us);
  }
  panel.series = {forward, here, h100};
  return panel;
}

Panel texts_panel(const Study& study) {
  Panel panel;
  panel.title = "Medium network by kind of text";
  panel.y_label = "mean cosine";
  const auto& texts = study.sources.kinds->info().texts;
  for (const auto& text : texts) panel.ticks.push_back(text.name);
  for (Signal signal : kStored) {
    Series bars = series(plural(signal), Series::Style::bars);
    for (size_t text = 0; text < texts.size(); ++text) {
      const Spread cosine = cosines(study, study.jobs.kinds, [&](const FitJob& j) {
        return j.text == text && j.signal == signal;
      });
      bars.y.push_back(cosine.mean());
      bars.error.push_back(cosine.deviation());
    }
    panel.series.push_back(bars);
  }
  return panel;
}

Panel profile_panel(const Study& study) {
  Panel panel;
  panel.title = "Medium network by layer, head 0";
  panel.x_label = "layer";
  panel.y_label = "mean cosine";
  for (Signal signal : kStored) {
    Series line = series(plural(signal));
    for (const FitJob& job : study.jobs.profile) {
      if (job.signal != signal) continue;
      line.x.push_back(job.layer);
      line.y.push_back(study.record(job).cosine_mean);
    }
    panel.series.push_back(line);
  }
  return panel;
}

Panel svd_panel(const Study& study) {
  Panel panel;
  panel.title = "SVD by ratio, the medium network as a line";
  panel.x_label = "ratio";
  panel.y_label = "mean cosine";
  panel.log_x = true;
  for (Signal signal : kStored) {
    Series svd = series(fmt::format("SVD, {}", plural(signal)));
    for (double target : {2., 4., 8., 16.}) add(svd, target, of_svd(study, target, signal));
    const double cosine = of_config(study, "medium", signal).mean();
    Series network = series(fmt::format("medium, {}", plural(signal)), Series::Style::line);
    network.x = {2, 16};
    network.y = {cosine, cosine};
    panel.series.push_back(svd);
    panel.series.push_back(network);
  }
  return panel;
}

Panel loop_panel(const Study& study, Signal signal) {
  Panel panel;
  panel.title = fmt::format("{} computed", signal == Signal::key ? "Keys" : "Values");
  panel.x_label = "f16 bytes / stored bytes";
  panel.y_label = "mean KLD";
  panel.log_x = panel.log_y = true;
  for (const auto& [label, start] : {std::pair{"networks", "network"},
                                     {"SVD", "SVD"},
                                     {"bases", "cosine"},
                                     {"bases", "Fourier"},
                                     {"means", "rotated"},
                                     {"means", "constant"}}) {
    if (panel.series.empty() || panel.series.back().label != label) {
      panel.series.push_back(series(label, Series::Style::points));
    }
    Series& s = panel.series.back();
    for (const Judged& j : study.loop) {
      if (j.kind != kind_name(signal) || !j.method.starts_with(start)) continue;
      s.x.push_back(j.ratio);
      s.y.push_back(j.kld_mean);
    }
  }
  return panel;
}

Figure one(const std::string& name, const std::string& caption, std::vector<Panel> panels) {
  Figure figure;
  figure.name = name;
  figure.caption = caption;
  figure.columns = int(std::min<size_t>(panels.size(), 2));
  figure.panels = std::move(panels);
  return figure;
}

}  // namespace

std::vector<Figure> figures(const Study& study) {
  const Jobs& jobs = study.jobs;
  const bool sweep = !jobs.sweep.empty(), timed = !study.latency.attention.empty();
  std::vector<Figure> all;
  if (sweep && timed && !jobs.scaling.empty()) {
    all.push_back(one("final_summary", "The study in six panels.",
                      {pareto_panel(study, Signal::key), kinds_panel(study), means_panel(study),
                       svd_panel(study), scaling_panel(study), attention_panel(study)}));
  }
  if (sweep) {
    all.push_back(one("pareto",
                      "Networks at the sizes of the configurations, SVD and a cosine basis.",
                      {pareto_panel(study, Signal::key), pareto_panel(study, Signal::value)}));
    all.push_back(one("keys_vs_values", "Means over layers and heads; whiskers: deviation.",
                      {kinds_panel(study)}));
    all.push_back(one("rotating_mean",
                      "Each point is a head: how much a network adds to one rotated vector.",
                      {means_panel(study)}));
    all.push_back(position_figure(study));
    all.push_back(
        one("siren_vs_svd", "Whiskers: deviation over layers and heads.", {svd_panel(study)}));
  }
  if (timed) {
    all.push_back(one("latency",
                      "Median time of a forward pass; reads at measured and data-sheet bandwidths.",
                      {latency_panel(study)}));
    all.push_back(one("attention_latency",
                      "Read-outs absorbed into the query, networks shared by a layer.",
                      {attention_panel(study)}));
    all.push_back(one("crossover", "Time by length.", {crossover_panel(study)}));
  }
  if (!jobs.scaling.empty()) {
    all.push_back(one("scaling", "Quality by length.", {scaling_panel(study)}));
  }
  if (!jobs.profile.empty()) {
    all.push_back(one("layer_profile", "Every layer of the model.", {profile_panel(study)}));
  }
  if (!study.loop.empty()) {
    all.push_back(one("loop_divergence",
                      "One kind computed for the first half of a text, the rest exact.",
                      {loop_panel(study, Signal::key), loop_panel(study, Signal::value)}));
  }
  if (!jobs.kinds.empty()) {
    all.push_back(one("kinds_of_text", "Means over a few layers and heads.", {texts_panel(study)}));
  }
  return all;
}

}  // namespace kvsplice::experiment::nerf
