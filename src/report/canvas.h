// What a figure is made of, in pixels from the top left, written down as commands for gnuplot.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace kvsplice::report {

struct Box {
  double left = 0, top = 0, right = 0, bottom = 0;
  double width() const { return right - left; }
  double height() const { return bottom - top; }
};

enum class Align { left, centre, right };

struct TextStyle {
  Align align = Align::left;
  double size = 12;
  const char* colour = "#333333";
  bool bold = false;
  double turn = 0;  // degrees, counter-clockwise
};

// Estimated, for any usual sans-serif font: generous rather than tight.
double text_width(std::string_view text, double size);

// Lines no wider than `width`, broken between words; a longer word stays whole.
std::vector<std::string> wrapped(std::string_view text, double size, double width);

// The text, or its beginning and "…" if it is wider than `width`.
std::string elided(std::string_view text, double size, double width);

class Canvas {
 public:
  Canvas(double width, double height) : width_(width), height_(height) {}

  double width() const { return width_; }
  double height() const { return height_; }

  void command(const std::string& text) { script_ += text + '\n'; }
  void text(double x, double y, std::string_view text, const TextStyle& style = {});
  void line(double x0, double y0, double x1, double y1, const std::string& line_style);
  void rectangle(const Box& box, const std::string& colour);
  void marker(double x, double y, const std::string& point_style);
  void set_margins(const Box& plot_area);

  const std::string& script() const { return script_; }

 private:
  std::string at(double x, double y) const;

  double width_, height_;
  std::string script_;
};

// A gnuplot string that stands for exactly this text (in a terminal set to noenhanced).
std::string gnuplot_string(std::string_view text);

}  // namespace kvsplice::report
