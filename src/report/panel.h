// One panel of a figure: title, legend, axes, series and notes inside a box of the canvas.
#pragma once

#include "report/canvas.h"
#include "report/figure.h"

namespace kvsplice::report {

bool has_legend(const Panel& panel);

// The legend in as many rows as it needs between `left` and `right`.
double legend_height(const std::vector<Series>& series, double width);
void draw_legend(Canvas& canvas, const std::vector<Series>& series, const Box& box);

// Labels, objects and arrows set before are drawn with the panel and then forgotten.
void draw_panel(Canvas& canvas, const Panel& panel, const Box& box, bool with_legend);

}  // namespace kvsplice::report
