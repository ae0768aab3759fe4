// What the quantiser and its fit share.
#pragma once

#include <vector>

#include "codec/stage.h"
#include "core/params.h"

namespace kvsplice::codec {

constexpr int kMostWidth = 6;      // bits of a column
constexpr size_t kPlaneRows = 64;  // rows whose bits of one weight stand together
constexpr float kLargestLevelCode = 127;

struct WidthsParams {
  double delta = 0.6;
  int most = kMostWidth;

  template <class V>
  void visit(V&& v) {
    v("delta", delta,
      "a column gets one more bit while that lowers its mean squared error, over the mean square "
      "of "
      "the unit's rows before any stage, by more than delta^2 / 12",
      Range{1e-6, 1e3});
    v("most", most, "bits that a column may get", Range{1, kMostWidth});
  }
};

// 2^width levels of a column, ascending, in small integers.
struct LevelCodes {
  int width = 0;
  float scale = 0;
  std::vector<float> codes;

  float level(size_t i) const { return scale * codes[i]; }
};

State state_of(const std::vector<LevelCodes>& columns);
// Error format unless it is what state_of makes of `count` columns.
Result<std::vector<LevelCodes>> load_levels(const State& state, size_t count);

}  // namespace kvsplice::codec
