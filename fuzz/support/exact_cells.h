// What the driver `exact` decodes: rows of one head, by a stage fitted on others like them.
#pragma once

#include "core/random.h"
#include "fit/stage_fit.h"

namespace kvsplice::fuzz {

constexpr size_t kExactRows = 19, kExactColumns = 5;
// A byte of the input is a code; those beyond stand for codes far outside.
constexpr int kSmallCode = 100;

struct ExactCells {
  codec::Unit unit{Kind::key, 0, {static_cast<int>(kExactColumns)}, {}};
  std::vector<int32_t> positions;
  std::unique_ptr<codec::Stage> stage;

  codec::CodeContext context() const { return {unit, {}, positions}; }
};

inline codec::Rows exact_rows(uint64_t seed) {
  Random random(seed);
  Matrix<float> rows(kExactRows, kExactColumns);
  for (float& x : rows.flat()) x = static_cast<float>(random.normal());
  return {std::move(rows), {}, false, 0};
}

inline const ExactCells& exact_cells() {
  static const ExactCells cells = [] {
    ExactCells made;
    made.unit.rope.frequency = {1, 0.1f};
    for (size_t i = 0; i < kExactRows; ++i) made.positions.push_back(static_cast<int32_t>(i * i));
    codec::Shared shared;
    codec::FitContext context{made.context()};
    context.shared = &shared;
    made.stage = codec::fit_stage("exact", {}, exact_rows(1), context).value();
    return made;
  }();
  return cells;
}

}  // namespace kvsplice::fuzz
