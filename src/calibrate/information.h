// Fisher information of what a model predicts, in its keys and values: how much small errors in
// them cost, measured on a few sequences by gradients (host/gradient.h).
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "extract/dump.h"
#include "fit/row_source.h"
#include "host/model.h"
#include "sweep/team.h"

namespace kvsplice::calibrate {

inline constexpr size_t kGradientMemory = 4'000'000'000;  // bytes, if nobody says otherwise

// Of each layer's keys and values.
struct ModelInformation {
  std::vector<codec::Information> keys, values;
};

// From the first of `sequences`, at most 10, which has been enough (docs/calibrate.md), that `use`
// chooses by number (all if it is empty). Of each the first 1,024 tokens serve, or as many as
// `memory` bytes beside the model hold, and one token is drawn behind each; `sinks` of them are
// left out. What each sequence gives is kept in `folder` under a name that says what it is of, and
// taken from there the next time; the processes of a team share the sequences. Errors: unsupported,
// see predicted_gradients; usage if memory is short of what a few tokens take.
Result<ModelInformation> measure_information(const host::Model& model,
                                             std::span<const extract::Sequence> sequences,
                                             size_t sinks, const std::string& folder, size_t memory,
                                             int threads, const sweep::Team& team,
                                             const Progress& progress,
                                             const std::function<bool(size_t)>& use = {});

// Calibration rows with the information added.
class InformedRows : public codec::RowsOfAnother {
 public:
  InformedRows(const codec::RowSource& rows, const ModelInformation& information)
      : RowsOfAnother(rows), information_(information) {}
  Result<codec::Information> read_information(Kind kind, int layer) const override;

 private:
  const ModelInformation& information_;
};

}  // namespace kvsplice::calibrate
