#include <algorithm>

#include "report/panel.h"
#include "report/series_style.h"

namespace kvsplice::report {

namespace {

constexpr double kRow = 18, kLine = 20, kSwatch = 11, kGap = 6, kBetween = 18, kSize = 11;

double sample_width(const Series& series) {
  const bool line = series.style != Series::Style::bars && series.style != Series::Style::points;
  return line ? kLine : kSwatch;
}

double entry_width(const Series& series) {
  return sample_width(series) + kGap + text_width(series.label, kSize) + kBetween;
}

struct Entry {
  size_t series;
  double x, y;  // of its left end, at half height
};

// One row of entries side by side if they fit, otherwise columns of equal width.
std::vector<Entry> arrange(const std::vector<Series>& series, double width) {
  double total = 0, widest = 1;
  for (const auto& s : series) {
    if (s.label.empty()) continue;
    total += entry_width(s);
    widest = std::max(widest, entry_width(s));
  }
  const bool one_row = total - kBetween <= width;
  const size_t columns = std::max(1, static_cast<int>((width + kBetween) / widest));
  std::vector<Entry> entries;
  double x = 0;
  for (size_t i = 0; i < series.size(); ++i) {
    if (series[i].label.empty()) continue;
    const size_t n = entries.size();
    const double row = one_row ? 0 : static_cast<double>(n / columns);
    entries.push_back(
        {i, one_row ? x : static_cast<double>(n % columns) * widest, (row + 0.5) * kRow});
    x += entry_width(series[i]);
  }
  return entries;
}

void draw_sample(Canvas& canvas, const Series& series, size_t index, double x, double y) {
  using Style = Series::Style;
  const double width = sample_width(series);
  if (series.style == Style::bars) {
    canvas.rectangle({x, y - 5, x + width, y + 5}, series_colour(index));
    return;
  }
  if (series.style != Style::points) canvas.line(x, y, x + width, y, line_style(index, 2));
  if (series.style == Style::points || series.style == Style::line_points) {
    canvas.marker(x + width / 2, y, point_style(index));
  }
}

}  // namespace

bool has_legend(const Panel& panel) {
  return std::any_of(panel.series.begin(), panel.series.end(),
                     [](const Series& s) { return !s.label.empty(); });
}

double legend_height(const std::vector<Series>& series, double width) {
  const auto entries = arrange(series, width);
  return entries.empty() ? 0 : entries.back().y + kRow / 2;
}

void draw_legend(Canvas& canvas, const std::vector<Series>& series, const Box& box) {
  for (const Entry& e : arrange(series, box.width())) {
    const Series& s = series[e.series];
    const double x = box.left + e.x, y = box.top + e.y;
    draw_sample(canvas, s, e.series, x, y);
    const double text = x + sample_width(s) + kGap;
    canvas.text(text, y, elided(s.label, kSize, box.right - text), {.size = kSize});
  }
}

}  // namespace kvsplice::report
