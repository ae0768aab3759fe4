// Figures: panels of series, drawn by gnuplot as SVG and PNG.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "kvsplice/result.h"

namespace kvsplice::report {

struct Series {
  enum class Style { line, points, line_points, bars, steps };
  std::string label;
  std::vector<double> x, y;        // bars: x may be empty (0, 1, 2, ...)
  std::vector<double> error = {};  // optional half-height of error bars
  Style style = Style::line;
  std::vector<std::string> notes = {};  // optional text beside each point
};

struct Panel {
  std::string title, x_label, y_label;
  std::vector<Series> series;
  bool log_x = false, log_y = false;
  std::vector<std::string> ticks = {};  // names of x = 0, 1, 2, ... (bars)
};

struct Figure {
  std::string name;     // file name without extension
  std::string caption;  // one or two sentences: what is seen, on which data
  std::vector<Panel> panels;
  int columns = 1;  // panels per row
};

// Whether there is a gnuplot, to be asked before work of hours.
Result<> check_drawing();

// Writes DIR/name.svg and DIR/name.png. Error if gnuplot is missing or fails, with its message.
Result<> draw(const Figure& figure, const std::filesystem::path& dir);

}  // namespace kvsplice::report
