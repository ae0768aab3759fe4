#include <fmt/format.h>

#include "experiments/train/judge.h"
#include "experiments/train/study.h"

namespace kvsplice::experiment::train {

namespace {

using report::Figure;
using report::Panel;
using report::Series;

double mean(const Study& study, const std::string& variant, const std::string& text,
            const std::string& store, double Point::*field) {
  double sum = 0;
  for (int seed = 0; seed < study.options.seeds; ++seed) {
    sum += study.point(variant, seed, text, store).*field / study.options.seeds;
  }
  return sum;
}

// A line of the codec's steps for each variant, and its f16 as a point.
Panel rates_panel(const Study& study, const std::string& text) {
  Panel panel;
  panel.title = text;
  panel.x_label = "stored bytes a token";
  panel.y_label = "nats per byte of text";
  panel.log_x = true;
  Series exact{"f16", {}, {}, {}, Series::Style::points, {}};
  for (const Variant& v : study.variants) {
    Series line{v.name, {}, {}, {}, Series::Style::line_points, {}};
    for (const Store& store : stores_of(study.options)) {
      const double bytes = mean(study, v.name, text, store.name, &Point::bytes_per_token);
      const double nats = mean(study, v.name, text, store.name, &Point::nats_per_byte);
      if (store.delta > 0) line.x.push_back(bytes), line.y.push_back(nats);
      if (store.name != "f16") continue;
      exact.x.push_back(bytes), exact.y.push_back(nats);
      exact.notes.push_back(v.name);
    }
    panel.series.push_back(std::move(line));
  }
  panel.series.push_back(std::move(exact));
  return panel;
}

Figure rates_figure(const Study& study) {
  Figure figure;
  figure.name = "rates";
  figure.caption =
      "Held-out nats per byte over stored bytes a token, means over seeds; lower left is better. "
      "Points of a line are steps of the quantiser.";
  for (size_t t = 1; t < study.texts.size(); ++t) {
    figure.panels.push_back(rates_panel(study, study.texts[t]));
  }
  figure.columns = int(figure.panels.size());
  return figure;
}

// The seed's two pictures, of what was measured: quality by cache, and what caches take.
Figure seed_figure(const Study& study) {
  const std::string text = study.texts[1];
  std::vector<std::string> codecs;
  for (const Store& store : stores_of(study.options)) {
    if (store.delta > 0) codecs.push_back(store.name);
  }
  const std::string coded = codecs[codecs.size() / 2];
  Panel quality, memory;
  quality.title = "Ablation, " + text;
  quality.y_label = "nats per byte more than full in f16";
  memory.title = "Memory of 1,024 tokens";
  memory.y_label = "KB, as stored";
  memory.log_y = true;
  const double exact = mean(study, "full", text, "f16", &Point::nats_per_byte);
  for (const std::string& store : {std::string("f16"), std::string("q4_0"), coded}) {
    Series nats{store, {}, {}, {}, Series::Style::bars, {}}, bytes = nats;
    for (const Variant& v : study.variants) {
      nats.y.push_back(mean(study, v.name, text, store, &Point::nats_per_byte) - exact);
      bytes.y.push_back(1.024 * mean(study, v.name, text, store, &Point::bytes_per_token));
    }
    quality.series.push_back(nats);
    memory.series.push_back(bytes);
  }
  for (const Variant& v : study.variants) {
    quality.ticks.push_back(v.name);
    memory.ticks.push_back(v.name);
  }
  return {"ablation",
          "The seed's ablation and memory figures from measured losses and encoded blocks: each "
          "cache in f16, in 4 bits, and coded.",
          {quality, memory},
          1};
}

}  // namespace

std::vector<Figure> figures(const Study& study) {
  return {rates_figure(study), seed_figure(study)};
}

}  // namespace kvsplice::experiment::train
