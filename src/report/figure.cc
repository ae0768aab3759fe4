#include "report/figure.h"

#include <fmt/format.h>

#include <algorithm>

#include "core/file.h"
#include "report/panel.h"
#include "report/series_style.h"
#include "report/subprocess.h"

namespace kvsplice::report {

namespace {

constexpr double kMargin = 14, kBetween = 26;

Error wrong(const Panel& panel, const Series& series, const std::string& what) {
  return {ErrorKind::usage,
          fmt::format("series '{}' of panel '{}': {}", series.label, panel.title, what)};
}

Result<> check_series(const Panel& panel, const Series& s) {
  const bool bars = s.style == Series::Style::bars;
  if (s.x.size() != s.y.size() && !(bars && s.x.empty())) {
    return wrong(panel, s, fmt::format("{} values of x for {} of y", s.x.size(), s.y.size()));
  }
  if (!s.error.empty() && s.error.size() != s.y.size()) {
    return wrong(panel, s, fmt::format("{} errors for {} points", s.error.size(), s.y.size()));
  }
  if (s.notes.size() > s.y.size()) {
    return wrong(panel, s, fmt::format("{} notes for {} points", s.notes.size(), s.y.size()));
  }
  if (bars && panel.log_x) {
    return wrong(panel, s, "bars on a logarithmic x axis; use names of ticks instead");
  }
  return {};
}

Result<> check(const Figure& figure) {
  if (figure.panels.empty()) {
    return Error{ErrorKind::usage, fmt::format("figure '{}' has no panels", figure.name)};
  }
  for (const auto& panel : figure.panels) {
    for (const auto& series : panel.series) KVS_TRY(check_series(panel, series));
  }
  return {};
}

// Panels with the same labels and styles share one legend.
bool same_legend(const Panel& a, const Panel& b) {
  return std::equal(
      a.series.begin(), a.series.end(), b.series.begin(), b.series.end(),
      [](const Series& s, const Series& t) { return s.label == t.label && s.style == t.style; });
}

bool shares_legend(const Figure& figure) {
  const Panel& first = figure.panels.front();
  return figure.panels.size() > 1 && has_legend(first) &&
         std::all_of(figure.panels.begin(), figure.panels.end(),
                     [&](const Panel& p) { return same_legend(p, first); });
}

struct Size {
  double width, height;
};

Size panel_size(size_t columns, size_t panels) {
  if (columns == 1) return panels == 1 ? Size{720, 420} : Size{720, 320};
  return columns == 2 ? Size{480, 330} : Size{370, 280};
}

// Height of a row of panels: legends of their own come on top of the usual height.
double row_height(const Figure& figure, size_t first, size_t columns, const Size& size) {
  double legend = 0;
  for (size_t i = first; i < std::min(first + columns, figure.panels.size()); ++i) {
    legend = std::max(legend, legend_height(figure.panels[i].series, size.width));
  }
  return size.height + legend;
}

Canvas lay_out(const Figure& figure) {
  const size_t panels = figure.panels.size();
  const auto columns = std::clamp<size_t>(std::max(figure.columns, 1), 1, panels);
  const Size size = panel_size(columns, panels);
  const double width = 2 * kMargin + columns * (size.width + kBetween) - kBetween;
  const auto& legend = figure.panels.front().series;
  const bool shared = shares_legend(figure);
  const double head = shared ? legend_height(legend, width - 2 * kMargin) + 10 : 0;
  double height = 2 * kMargin + head - kBetween;
  std::vector<double> heights;
  for (size_t i = 0; i < panels; i += columns) {
    heights.push_back(shared ? size.height : row_height(figure, i, columns, size));
    height += heights.back() + kBetween;
  }

  Canvas canvas(width, height);
  canvas.command("set multiplot");
  if (shared) draw_legend(canvas, legend, {kMargin, kMargin, width - kMargin, kMargin + head});
  double top = kMargin + head;
  for (size_t i = 0; i < panels; ++i) {
    const double left = kMargin + (i % columns) * (size.width + kBetween);
    const double bottom = top + heights[i / columns];
    draw_panel(canvas, figure.panels[i], {left, top, left + size.width, bottom}, !shared);
    if (i % columns == columns - 1) top = bottom + kBetween;
  }
  canvas.command("unset multiplot");
  return canvas;
}

// What all panels have in common.
std::string preamble() {
  return fmt::format(
      "set encoding utf8\n"
      "unset key\n"
      "set border 3 linecolor rgb '{0}' linewidth 1\n"
      "set grid linecolor rgb '{1}' linetype 1 linewidth 1\n"
      "$nothing << EOD\nEOD\n",
      kAxis, kGrid);
}

std::string svg_terminal(const Canvas& canvas) {
  return fmt::format(
      "set terminal svg size {:.0f},{:.0f} noenhanced font 'sans-serif,12' background '#ffffff'\n",
      canvas.width(), canvas.height());
}

// Twice the pixels, for sharp letters (fonts are in points of 4/3 pixels); gnuplot without cairo
// has the plainer `png`.
std::string png_terminal(const Canvas& canvas) {
  return fmt::format(
      "if (strstrt(GPVAL_TERMINALS, ' pngcairo ') > 0) {{\n"
      "  set terminal pngcairo size {0:.0f},{1:.0f} noenhanced font 'sans-serif,12' fontscale 1.5 "
      "linewidth 2 pointscale 2 background '#ffffff'\n"
      "}} else {{\n"
      "  set terminal png size {0:.0f},{1:.0f} noenhanced fontscale 1.5 linewidth 2 truecolor\n"
      "}}\n",
      2 * canvas.width(), 2 * canvas.height());
}

Error no_gnuplot(const Error& error) {
  return {error.kind, error.message + "; figures need gnuplot (package gnuplot-nox)"};
}

Result<std::string> run_gnuplot(const std::string& figure, const std::string& script) {
  auto finished = run_program({"gnuplot", "--default-settings"}, script);
  if (!finished.ok()) return no_gnuplot(finished.error());
  if (finished->exit_code != 0 || finished->output.empty()) {
    return Error{ErrorKind::io, fmt::format("gnuplot could not draw figure '{}' (exit code {}): {}",
                                            figure, finished->exit_code, finished->errors)};
  }
  return std::move(finished->output);
}

void erase_all(std::string& text, std::string_view from, std::string_view to) {
  for (size_t at = 0; (at = text.find(from, at)) != std::string::npos;) {
    const size_t end = text.find(to, at);
    if (end == std::string::npos) return;
    text.erase(at, end + to.size() - at);
  }
}

// gnuplot passes the font on as it is named, where SVG wants its weight apart, and gives all parts
// titles such as "gnuplot_plot_1", which browsers show as tips.
std::string tidied(std::string svg) {
  erase_all(svg, "<title>", "</title>");
  erase_all(svg, "<desc>", "</desc>");
  const std::string bold = "font-family=\"sans-serif:Bold\"";
  const std::string plain = "font-family=\"sans-serif\" font-weight=\"bold\"";
  for (size_t at = 0; (at = svg.find(bold, at)) != std::string::npos; at += plain.size()) {
    svg.replace(at, bold.size(), plain);
  }
  return svg;
}

}  // namespace

Result<> check_drawing() {
  const auto asked = run_program({"gnuplot", "--version"}, "");
  return asked.ok() ? Result<>() : no_gnuplot(asked.error());
}

Result<> draw(const Figure& figure, const std::filesystem::path& dir) {
  KVS_TRY(check(figure));
  const Canvas canvas = lay_out(figure);
  const std::string script = preamble() + canvas.script();
  KVS_ASSIGN(const std::string svg, run_gnuplot(figure.name, svg_terminal(canvas) + script));
  KVS_ASSIGN(const std::string png, run_gnuplot(figure.name, png_terminal(canvas) + script));
  KVS_TRY(write_text(dir / (figure.name + ".svg"), tidied(svg)));
  return write_text(dir / (figure.name + ".png"), png);
}

}  // namespace kvsplice::report
