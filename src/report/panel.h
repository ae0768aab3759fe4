// One panel of a figure: title, legend, axes, series and notes inside a box of the canvas.
#pragma once

#include "report/canvas.h"
#include "report/figure.h"

namespace kvsplice::report {

// Entries of the legend, drawn in as many rows as they need; returns their height.
// With `dry` nothing is drawn.
double draw_legend(Canvas& canvas, const std::vector<Series>& series, double left, double top,
                   double right, bool dry = false);

bool has_legend(const Panel& panel);

// Labels, objects and arrows set before are drawn with the panel and then forgotten.
void draw_panel(Canvas& canvas, const Panel& panel, const Box& box, bool with_legend);

}  // namespace kvsplice::report
