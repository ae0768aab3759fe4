// Calibration of `range`'s model from a unit's codes.
#pragma once

#include "codec/entropy/range/model.h"

namespace kvsplice::codec::range {

struct Calibration {
  std::vector<int32_t> centre;  // per column
  std::vector<uint32_t> mean;   // per group
  int near_weight = 0, past_weight = 0;
  std::array<Costs, kClasses> costs;
};

// codes: at least one row and one column. Rows are taken as blocks of 256, as sessions cut them.
Calibration calibrate(MatrixView<const int32_t> codes);

// Error format for costs no table can have.
Result<Model> make_model(const Calibration& calibration);

}  // namespace kvsplice::codec::range
