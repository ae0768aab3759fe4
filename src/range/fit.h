// Calibration of `range`'s model from a unit's codes.
#pragma once

#include "range/model.h"

namespace kvsplice::range {

struct Calibration {
  std::vector<int32_t> centre;  // per column
  std::vector<uint32_t> mean;   // per group
  int near_weight = 0, past_weight = 0;
  std::array<Costs, kClasses> costs;
};

// Of every column, from some thousand rows: what `calibrate` centres codes about that may lie
// anywhere.
std::vector<int32_t> medians(MatrixView<const int32_t> codes);

// codes: at least one row and one column; centre: one per column. Rows are taken as blocks of 256,
// as sessions cut them.
Calibration calibrate(MatrixView<const int32_t> codes, std::vector<int32_t> centre);

// Error format for costs no table can have.
Result<Model> make_model(const Calibration& calibration);

}  // namespace kvsplice::range
