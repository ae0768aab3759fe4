// What the quantiser and its fit share.
#pragma once

#include <cmath>
#include <vector>

#include "codec/stage.h"
#include "core/params.h"

namespace kvsplice::codec {

constexpr int kMostWidth = 6;      // bits of a column
constexpr size_t kPlaneRows = 64;  // rows whose bits of one weight stand together
constexpr float kLargestLevelCode = 127;

constexpr int kMostGrades = 4;

struct WidthsParams {
  double delta = 0.6;
  int most = kMostWidth;
  int grades = 1;
  double spread = 2;

  template <class V>
  void visit(V&& v) {
    v("delta", delta,
      "a column gets one more bit while that lowers its mean squared error, over the mean square "
      "of the unit's rows before any stage, by more than delta^2 / 12",
      Range{1e-6, 1e3});
    v("most", most, "bits that a column may get", Range{1, kMostWidth});
    v("grades", grades,
      "tables of widths and levels, fine ones first; a live cache chooses by what coarse blocks "
      "would harm, others take the middle",
      Range{1, kMostGrades});
    v("spread", spread, "delta of a grade over that of the one before it", Range{1, 100});
  }

  // The grade of rows of which nothing is known, whose delta is `delta`.
  size_t middle() const { return size_t(grades) / 2; }
  double delta_of(size_t grade) const {
    return delta * std::pow(spread, double(grade) - double(middle()));
  }
};

// 2^width levels of a column, ascending, in small integers.
struct LevelCodes {
  int width = 0;
  float scale = 0;
  std::vector<float> codes;

  float level(size_t i) const { return scale * codes[i]; }
};

// Of all grades, one behind the other.
State state_of(const std::vector<LevelCodes>& columns);
// Error format unless it is what state_of makes of `count` columns.
Result<std::vector<LevelCodes>> load_levels(const State& state, size_t count);

}  // namespace kvsplice::codec
