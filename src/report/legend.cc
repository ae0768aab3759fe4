#include "report/panel.h"
#include "report/series_style.h"

namespace kvsplice::report {

namespace {

constexpr double kRow = 18, kSample = 20, kGap = 6, kBetween = 18, kSize = 11;

void draw_sample(Canvas& canvas, const Series& series, size_t index, double x, double y) {
  using Style = Series::Style;
  const Style style = series.style;
  if (style == Style::bars) {
    canvas.rectangle({x + kSample - 11, y - 5, x + kSample, y + 5}, series_colour(index));
    return;
  }
  if (style != Style::points) canvas.line(x, y, x + kSample, y, line_style(index, 2));
  if (style == Style::points || style == Style::line_points) {
    canvas.marker(x + kSample / (style == Style::points ? 1.3 : 2), y, point_style(index));
  }
}

}  // namespace

bool has_legend(const Panel& panel) {
  for (const auto& series : panel.series) {
    if (!series.label.empty()) return true;
  }
  return false;
}

double draw_legend(Canvas& canvas, const std::vector<Series>& series, double left, double top,
                   double right, bool dry) {
  double x = left, y = top + kRow / 2;
  for (size_t i = 0; i < series.size(); ++i) {
    if (series[i].label.empty()) continue;
    const double width = kSample + kGap + text_width(series[i].label, kSize);
    if (x > left && x + width > right) {
      x = left;
      y += kRow;
    }
    if (!dry) {
      draw_sample(canvas, series[i], i, x, y);
      canvas.text(x + kSample + kGap, y, series[i].label, {.size = kSize});
    }
    x += width + kBetween;
  }
  return y - top + kRow / 2;
}

}  // namespace kvsplice::report
