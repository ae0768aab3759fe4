#include "report/canvas.h"

#include <fmt/format.h>

#include <cctype>
#include <sstream>

#include "report/text.h"

namespace kvsplice::report {

namespace {

const char* name(Align align) {
  return align == Align::left ? "left" : align == Align::right ? "right" : "center";
}

}  // namespace

double text_width(std::string_view text, double size) {
  return 0.58 * size * static_cast<double>(display_width(text));
}

std::vector<std::string> wrapped(std::string_view text, double size, double width) {
  std::vector<std::string> lines;
  std::istringstream words{clean_text(text)};
  for (std::string word; words >> word;) {
    if (lines.empty() || text_width(lines.back() + ' ' + word, size) > width) {
      lines.push_back(word);
    } else {
      lines.back() += ' ' + word;
    }
  }
  return lines;
}

std::string elided(std::string_view text, double size, double width) {
  std::string kept = clean_text(text);
  if (text_width(kept, size) <= width) return kept;
  while (!kept.empty() && text_width(kept + "…", size) > width) {
    while ((kept.back() & 0xc0) == 0x80) kept.pop_back();  // the rest of a code point
    kept.pop_back();
  }
  return kept + "…";
}

// Between double quotes gnuplot gives a meaning to quotes, backslashes and backquotes; written as
// octal numbers, they and all other signs are safe; digits too, which would be taken for more of
// the number before them. (Single quotes fail on a leading apostrophe.)
std::string gnuplot_string(std::string_view text) {
  std::string out = "\"";
  for (const char c : clean_text(text)) {
    const auto byte = static_cast<unsigned char>(c);
    const bool plain = std::isalpha(byte) || byte >= 0x80 || c == ' ' || c == '.';
    out += plain ? std::string(1, c) : fmt::format("\\{:03o}", byte);
  }
  return out + '"';
}

std::string Canvas::at(double x, double y) const {
  return fmt::format("screen {:.6f}, screen {:.6f}", x / width_, 1 - y / height_);
}

void Canvas::text(double x, double y, std::string_view text, const TextStyle& style) {
  if (text.empty()) return;
  command(
      fmt::format("set label {} at {} {} rotate by {:g} font '{},{:g}' textcolor rgb '{}' front",
                  gnuplot_string(text), at(x, y), name(style.align), style.turn,
                  style.bold ? "sans-serif:Bold" : "", style.size, style.colour));
}

void Canvas::line(double x0, double y0, double x1, double y1, const std::string& line_style) {
  command(fmt::format("set arrow from {} to {} nohead {}", at(x0, y0), at(x1, y1), line_style));
}

void Canvas::rectangle(const Box& box, const std::string& colour) {
  command(
      fmt::format("set object rectangle from {} to {} fillcolor rgb '{}' fillstyle solid noborder",
                  at(box.left, box.bottom), at(box.right, box.top), colour));
}

void Canvas::marker(double x, double y, const std::string& point_style) {
  command(fmt::format("set label '' at {} point {} front", at(x, y), point_style));
}

void Canvas::set_margins(const Box& area) {
  command(fmt::format("set lmargin at screen {:.6f}; set rmargin at screen {:.6f}",
                      area.left / width_, area.right / width_));
  command(fmt::format("set tmargin at screen {:.6f}; set bmargin at screen {:.6f}",
                      1 - area.top / height_, 1 - area.bottom / height_));
}

}  // namespace kvsplice::report
