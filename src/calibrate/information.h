// Fisher information of what a model predicts, in its keys and values: how much small errors in
// them cost, measured on a few sequences by gradients (host/gradient.h).
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "codec/codec.h"
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

struct GatherOptions {
  size_t sinks = 4;  // of a sequence, left out
  std::string work;  // folder for what is made; what is there already is not made again
  int threads = 0;
  size_t memory = kGradientMemory;  // that gradients may take beside the model, in bytes
  std::function<bool(size_t sequence)> use = {};  // which sequences to learn from; empty: all
  sweep::Team team = {};                          // whose processes share the work
};

// From the first sequences that are of use, at most 10, which has been enough (docs/calibrate.md).
// Of each the first 1,024 tokens serve, or as many as the memory holds, and one token is drawn
// behind each. What each sequence gives is kept under a name that says what it is of. Errors:
// unsupported, see predicted_gradients; usage if memory is short of what a few tokens take.
Result<ModelInformation> measure_information(const host::Model& model,
                                             std::span<const extract::Sequence> sequences,
                                             const GatherOptions& options,
                                             const Progress& progress);

// The same of rows that a codec has restored: the first half of a sequence is a prompt, and tokens
// are drawn behind those that follow it. From at most 30 pieces, of which a long sequence has
// several. Errors besides: unsupported if the codec joins layers or the model is a hybrid.
Result<ModelInformation> measure_information_behind(const host::Model& model,
                                                    const codec::Codec& codec,
                                                    std::span<const extract::Sequence> sequences,
                                                    const GatherOptions& options,
                                                    const Progress& progress);

// The mean of both, the other first scaled so that units have the same traces in the geometric
// mean: few tokens read a prompt's rows from afar, and all do from near.
ModelInformation even_mean(ModelInformation one, const ModelInformation& other);

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
