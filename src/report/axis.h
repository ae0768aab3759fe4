// The range of an axis and its ticks, with labels a person reads at a glance.
#pragma once

#include <string>
#include <vector>

namespace kvsplice::report {

struct Tick {
  double value;
  std::string label;
};

struct Axis {
  double low = 0, high = 1;
  bool log = false;
  bool empty = true;  // no value could be shown
  std::vector<Tick> ticks;

  bool shows(double value) const;       // finite, and above zero on a log axis
  double fraction(double value) const;  // 0 at low, 1 at high
};

// Covers the values that can be shown with a little room; `from_zero` includes zero and leaves no
// room below it (bars). At most about `most_ticks` ticks.
Axis make_axis(const std::vector<double>& values, bool log, bool from_zero, int most_ticks);

// Like "0.25", "1200", "250k", "3.5M" or "2×10⁻⁶"; `step` is the distance between ticks and `size`
// the largest magnitude on the axis, which choose digits and unit.
std::string tick_label(double value, double step, double size);

}  // namespace kvsplice::report
