// Levels of least squared error for the values of a column (Lloyd 1957, Max 1960).
#pragma once

#include <vector>

#include "core/matrix.h"

namespace kvsplice {

// The values in ascending order. Prefix sums give the mean of any run of them at once.
class SortedColumn {
 public:
  // Of at least one row. Long columns are thinned to evenly spaced rows.
  SortedColumn(MatrixView<const float> x, size_t column);

  // `count` of them, ascending, by Lloyd's method.
  std::vector<double> levels(size_t count) const;
  // Mean squared error of the nearest of `levels`, which ascend.
  double error(const std::vector<double>& levels) const;

 private:
  double sum(size_t first, size_t end) const { return sums_[end] - sums_[first]; }
  size_t count_up_to(double threshold) const;
  std::vector<double> spread_levels(size_t count) const;
  double step(std::vector<double>& levels) const;

  std::vector<float> sorted_;
  std::vector<double> sums_;
  double energy_ = 0;
};

}  // namespace kvsplice
