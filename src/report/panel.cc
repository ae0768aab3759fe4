#include "report/panel.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <numbers>

#include "report/axis.h"
#include "report/labels.h"
#include "report/series_style.h"

namespace kvsplice::report {

namespace {

constexpr double kTickSize = 11, kNoteSize = 10.5, kLabelSize = 12, kTitleSize = 13;
constexpr double kTurn = std::numbers::pi / 6;  // of names that do not fit side by side

double x_of(const Series& series, size_t i) {
  return series.x.empty() ? static_cast<double>(i) : series.x[i];
}

double error_of(const Series& series, size_t i) {
  return series.error.empty() || !std::isfinite(series.error[i]) ? 0 : std::abs(series.error[i]);
}

bool is_bars(const Series& series) { return series.style == Series::Style::bars; }

// Bars of several series stand side by side around their x.
struct Bars {
  size_t count = 0;  // series of bars
  double slot = 1;   // distance between neighbouring x
  double width() const { return 0.8 * slot / static_cast<double>(std::max<size_t>(count, 1)); }
  double offset(size_t nth) const {
    return (static_cast<double>(nth) - 0.5 * (count - 1.0)) * width();
  }
};

Bars bars_of(const Panel& panel) {
  Bars bars;
  std::vector<double> xs;
  for (const auto& s : panel.series) {
    if (!is_bars(s)) continue;
    ++bars.count;
    for (size_t i = 0; i < s.y.size(); ++i) {
      if (std::isfinite(x_of(s, i))) xs.push_back(x_of(s, i));
    }
  }
  std::sort(xs.begin(), xs.end());
  double slot = HUGE_VAL;
  for (size_t i = 1; i < xs.size(); ++i) {
    if (xs[i] > xs[i - 1]) slot = std::min(slot, xs[i] - xs[i - 1]);
  }
  if (std::isfinite(slot)) bars.slot = slot;
  return bars;
}

double widest(const std::vector<Tick>& ticks) {
  double width = 0;
  for (const auto& t : ticks) width = std::max(width, text_width(t.label, kTickSize));
  return width;
}

// A panel while it is drawn.
class Drawing {
 public:
  Drawing(Canvas& canvas, const Panel& panel, const Box& box)
      : canvas_(canvas), panel_(panel), box_(box), area_(box), bars_(bars_of(panel)) {}

  void draw(bool with_legend);

 private:
  void make_axes();
  void make_x_axis(const std::vector<double>& xs);
  void make_area(double top);
  void turn_ticks();
  double draw_head(bool with_legend);
  void draw_axes();
  void draw_series();
  void draw_notes();
  std::string data(const Series& series, double offset) const;
  std::string plots(size_t index, double offset);

  double px(double x) const { return area_.left + x_axis_.fraction(x) * area_.width(); }
  double py(double y) const { return area_.bottom - y_axis_.fraction(y) * area_.height(); }
  bool shown(double x, double y) const { return x_axis_.shows(x) && y_axis_.shows(y); }

  Canvas& canvas_;
  const Panel& panel_;
  const Box box_;
  Box area_;  // of the plot, between the axes
  const Bars bars_;
  Axis x_axis_, y_axis_;
  bool turned_ = false;  // names of ticks
  std::string plots_;    // arguments of the plot command
};

void Drawing::make_axes() {
  std::vector<double> xs, ys;
  Axis x_probe, y_probe;
  x_probe.log = panel_.log_x;
  y_probe.log = panel_.log_y;
  for (const auto& s : panel_.series) {
    for (size_t i = 0; i < s.y.size(); ++i) {
      if (!x_probe.shows(x_of(s, i)) || !y_probe.shows(s.y[i])) continue;
      xs.push_back(x_of(s, i));
      for (const int sign : {-1, 0, 1}) ys.push_back(s.y[i] + sign * error_of(s, i));
    }
  }
  y_axis_ = make_axis(ys, panel_.log_y, bars_.count > 0 && !panel_.log_y, 6);
  const bool notes_on_bars =
      std::any_of(panel_.series.begin(), panel_.series.end(),
                  [](const Series& s) { return is_bars(s) && !s.notes.empty(); });
  if (notes_on_bars && !y_axis_.log) {
    const double room = 0.08 * (y_axis_.high - y_axis_.low);
    if (y_axis_.high > 0) y_axis_.high += room;
    if (y_axis_.low < 0) y_axis_.low -= room;
  }
  make_x_axis(xs);
}

void Drawing::make_x_axis(const std::vector<double>& xs) {
  const int most = std::max(3, static_cast<int>(box_.width() / 70));
  x_axis_ = make_axis(xs, panel_.log_x, false, most);
  if (x_axis_.empty) return;
  if (!panel_.ticks.empty()) {
    x_axis_.ticks.clear();
    for (size_t i = 0; i < panel_.ticks.size(); ++i) {
      x_axis_.ticks.push_back({static_cast<double>(i), panel_.ticks[i]});
    }
    const double last = static_cast<double>(panel_.ticks.size()) - 1;
    x_axis_.low = std::min(x_axis_.low, -0.5);
    x_axis_.high = std::max(x_axis_.high, last + 0.5);
  } else if (bars_.count > 0) {
    const auto [low, high] = std::minmax_element(xs.begin(), xs.end());
    x_axis_.low = std::min(x_axis_.low, *low - 0.6 * bars_.slot);
    x_axis_.high = std::max(x_axis_.high, *high + 0.6 * bars_.slot);
  }
}

// Names of bars that do not fit side by side are turned, and shortened to the room there is.
void Drawing::turn_ticks() {
  if (panel_.ticks.empty()) return;
  const double slot = area_.width() / (x_axis_.high - x_axis_.low);
  if (widest(x_axis_.ticks) + 8 <= slot) return;
  turned_ = true;
  const double sideways = (area_.left - box_.left + slot / 2) / std::cos(kTurn);
  const double room = std::min(sideways, 0.3 * box_.height() / std::sin(kTurn));
  for (auto& t : x_axis_.ticks) t.label = elided(t.label, kTickSize, room);
  area_.bottom -= widest(x_axis_.ticks) * std::sin(kTurn);
  // Where even turned names would touch, some go without.
  const auto every = static_cast<size_t>(std::ceil(1.3 * kTickSize / slot));
  for (size_t i = 0; i < x_axis_.ticks.size(); ++i) {
    if (i % every != 0) x_axis_.ticks[i].label.clear();
  }
}

// Leaves room for what surrounds the plot.
void Drawing::make_area(double top) {
  area_.left = box_.left + widest(y_axis_.ticks) + 10 + (panel_.y_label.empty() ? 4 : 24);
  area_.right = box_.right - 14;
  area_.top = top + 8;
  area_.bottom = box_.bottom - 24 - (panel_.x_label.empty() ? 0 : 22);
  turn_ticks();
}

// Title and legend; returns where they end.
double Drawing::draw_head(bool with_legend) {
  double y = box_.top;
  for (const auto& line : wrapped(panel_.title, kTitleSize, box_.width())) {
    canvas_.text(box_.left, y + 10, line, {.size = kTitleSize, .bold = true});
    y += 20;
  }
  if (!panel_.title.empty()) y += 5;
  if (with_legend) {
    draw_legend(canvas_, panel_.series, {box_.left, y, box_.right, box_.bottom});
    y += legend_height(panel_.series, box_.width());
  }
  return y;
}

// gnuplot takes the label of a tick for a format, where %% means a per cent sign.
std::string tick_list(const Axis& axis) {
  std::string list;
  for (const auto& t : axis.ticks) {
    std::string label;
    for (const char c : t.label) label.append(c == '%' ? 2 : 1, c);
    list += fmt::format("{}{} {}", list.empty() ? "" : ", ", gnuplot_string(label), t.value);
  }
  return list;
}

void Drawing::draw_axes() {
  canvas_.set_margins(area_);
  // In this order: a range that is not positive must never meet a log scale.
  canvas_.command("unset logscale");
  canvas_.command(fmt::format("set xrange [{}:{}]; set yrange [{}:{}]", x_axis_.low, x_axis_.high,
                              y_axis_.low, y_axis_.high));
  if (x_axis_.log) canvas_.command("set logscale x");
  if (y_axis_.log) canvas_.command("set logscale y");
  const std::string tick_text = fmt::format("font ',{:g}' textcolor rgb '{}'", kTickSize, kMuted);
  const std::string turn =
      turned_ ? fmt::format("rotate by {:g} right", kTurn * 180 / std::numbers::pi) : "norotate";
  canvas_.command(x_axis_.empty
                      ? "unset xtics; unset ytics"
                      : fmt::format("set xtics nomirror out scale 0.4 {0} ({1}) {3}\n"
                                    "set ytics nomirror out scale 0.4 ({2}) {3}",
                                    turn, tick_list(x_axis_), tick_list(y_axis_), tick_text));
  // Names of bars need no vertical lines.
  canvas_.command(panel_.ticks.empty() && bars_.count == 0 ? "set grid xtics ytics"
                                                           : "set grid noxtics ytics");
  const double middle = (area_.left + area_.right) / 2;
  canvas_.text(middle, box_.bottom - 9, panel_.x_label,
               {.align = Align::centre, .size = kLabelSize});
  canvas_.text(box_.left + 8, (area_.top + area_.bottom) / 2, panel_.y_label,
               {.align = Align::centre, .size = kLabelSize, .turn = 90});
}

// Lines "x y low high width"; an empty line, which interrupts lines, where nothing can be shown.
std::string Drawing::data(const Series& s, double offset) const {
  std::string lines;
  for (size_t i = 0; i < s.y.size(); ++i) {
    if (!shown(x_of(s, i), s.y[i])) {
      lines += '\n';
      continue;
    }
    const double e = error_of(s, i);
    lines += fmt::format("{} {} {} {} {}\n", x_of(s, i) + offset, s.y[i],
                         std::max(s.y[i] - e, y_axis_.low), s.y[i] + e, bars_.width());
  }
  return lines;
}

std::string Drawing::plots(size_t index, double offset) {
  using Style = Series::Style;
  const Series& s = panel_.series[index];
  const std::string name = fmt::format("$series{}", index);
  canvas_.command(fmt::format("{} << EOD\n{}EOD", name, data(s, offset)));
  std::string out;
  const auto add = [&](const std::string& how) { out += fmt::format("{} {}, ", name, how); };
  if (s.style == Style::bars) {
    add(fmt::format("using 1:2:5 with boxes fillstyle solid noborder linecolor rgb '{}'",
                    series_colour(index)));
  } else if (s.style == Style::steps) {
    add("using 1:2 with steps " + line_style(index, 2));
  } else if (s.style != Style::points) {
    add("using 1:2 with lines " + line_style(index, 2));
  }
  if (!s.error.empty()) {  // arrows with flat heads: the style for error bars leaves a gap
    add(
        fmt::format("using 1:3:(0):($4-$3) with vectors heads size screen {:.5f},90 nofilled "
                    "linewidth 1.2 linecolor rgb '{}'",
                    3 / canvas_.width(), is_bars(s) ? kInk : series_colour(index)));
  }
  if (s.style == Style::points || s.style == Style::line_points) {
    add("using 1:2 with points " + point_style(index));
  }
  return out;
}

void Drawing::draw_series() {
  size_t nth_bars = 0;
  for (size_t i = 0; i < panel_.series.size(); ++i) {
    const bool bars = is_bars(panel_.series[i]);
    plots_ += plots(i, bars ? bars_.offset(nth_bars) : 0);
    nth_bars += bars;
  }
}

// Points, and places along lines every few pixels.
void add_obstacles(std::vector<Spot>& taken, const std::vector<Spot>& points, bool joined) {
  for (size_t i = 0; i < points.size(); ++i) {
    taken.push_back(points[i]);
    if (!joined || i == 0) continue;
    const double dx = points[i].x - points[i - 1].x, dy = points[i].y - points[i - 1].y;
    const int pieces = static_cast<int>(std::hypot(dx, dy) / 8);
    for (int k = 1; k < pieces; ++k) {
      const double t = double(k) / pieces;
      taken.push_back({points[i].x - t * dx, points[i].y - t * dy});
    }
  }
}

void Drawing::draw_notes() {
  std::vector<Spot> taken;
  std::vector<Note> notes;
  std::vector<std::string> texts;
  size_t nth_bars = 0;
  for (const auto& s : panel_.series) {
    const double offset = is_bars(s) ? bars_.offset(nth_bars++) : 0;
    std::vector<Spot> points;
    for (size_t i = 0; i < s.y.size(); ++i) {
      if (!shown(x_of(s, i), s.y[i])) continue;
      points.push_back({px(x_of(s, i) + offset), py(s.y[i])});
      if (i >= s.notes.size() || s.notes[i].empty()) continue;
      const double width = text_width(s.notes[i], kNoteSize), height = kNoteSize + 2;
      if (is_bars(s)) {  // beyond the end of the bar
        const bool down = s.y[i] < 0;
        const double end = s.y[i] + (down ? -1 : 1) * error_of(s, i);
        const auto side = down ? Note::First::below : Note::First::above;
        notes.push_back({{points.back().x, py(end)}, width, height, 3, side});
      } else {
        notes.push_back({points.back(), width, height, 7});
      }
      texts.push_back(s.notes[i]);
    }
    if (!is_bars(s)) add_obstacles(taken, points, s.style != Series::Style::points);
  }
  const auto boxes = place_notes(notes, taken, area_);
  for (size_t i = 0; i < boxes.size(); ++i) {
    const Box& b = boxes[i];
    const bool right_of = b.left > notes[i].spot.x, left_of = b.right < notes[i].spot.x;
    const Align align = right_of ? Align::left : left_of ? Align::right : Align::centre;
    const double x = right_of ? b.left : left_of ? b.right : notes[i].spot.x;
    canvas_.text(x, (b.top + b.bottom) / 2, texts[i],
                 {.align = align, .size = kNoteSize, .colour = kMuted});
  }
}

void Drawing::draw(bool with_legend) {
  make_axes();
  make_area(draw_head(with_legend));
  draw_axes();
  if (x_axis_.empty) {
    canvas_.text((area_.left + area_.right) / 2, (area_.top + area_.bottom) / 2, "no data",
                 {.align = Align::centre, .size = kTitleSize, .colour = kAxis});
  } else {
    draw_series();
    draw_notes();
  }
  // A plot of nothing still draws axes and text.
  if (plots_.empty()) plots_ = "$nothing using 1:2, ";
  canvas_.command("plot " + plots_.substr(0, plots_.size() - 2));
  canvas_.command("unset label; unset arrow; unset object");
}

}  // namespace

void draw_panel(Canvas& canvas, const Panel& panel, const Box& box, bool with_legend) {
  Drawing(canvas, panel, box).draw(with_legend);
}

}  // namespace kvsplice::report
