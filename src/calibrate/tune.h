// Steps of units by what their errors do to the prediction behind a restored prompt, and by what
// they cost in bytes.
#pragma once

#include <vector>

#include "calibrate/calibration_data.h"
#include "codec/codec.h"

namespace kvsplice::calibrate {

// Of one unit: its share of the divergence, and the bytes that a step larger by a factor of e
// saves, to first order.
struct UnitCost {
  double divergence = 0, bytes = 0;
};

// What the steps of units are multiplied by, so that a byte saved costs about as much divergence
// everywhere: factors of at most kMostTuned either way, at which the bytes stay what they were.
inline constexpr double kMostTuned = 2;
std::vector<double> tuned_steps(const std::vector<UnitCost>& costs);

// Measured on as many of the sequences, half of each a prompt, as have been enough
// (docs/calibrate.md). Errors: unsupported for a unit without a stage `step`, and as of
// host::loss_gradients.
Result<std::vector<UnitCost>> unit_costs(const host::Model& model, const codec::Codec& codec,
                                         std::span<const extract::Sequence> sequences, size_t sinks,
                                         int threads, const Progress& progress);

// Calibration rows of units whose steps are scaled: by factors in the order of a codec's units.
class TunedRows : public codec::RowsOfAnother {
 public:
  TunedRows(const codec::RowSource& rows, const codec::Codec& codec, std::vector<double> factors)
      : RowsOfAnother(rows), codec_(codec), factors_(std::move(factors)) {}
  double step_scale(const codec::Unit& unit) const override;

 private:
  const codec::Codec& codec_;
  std::vector<double> factors_;
};

}  // namespace kvsplice::calibrate
