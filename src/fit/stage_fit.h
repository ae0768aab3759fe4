// What a stage learns before it can code: its state, from calibration rows. A stage that learns has
// a file <name>_fit.cc in its folder, which defines `StageFit <name>_fit()`; stages without one
// learn nothing.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "codec/stage.h"
#include "core/progress.h"

namespace kvsplice::codec {

// How much attention some tokens got from later ones, for stages that learn what to keep.
struct Attention {
  std::vector<size_t> rows;  // of the calibration rows, ascending
  Matrix<float> received;    // [rows x KV heads]; see analyse/attention.h
};

// What errors in the rows of a unit do to the model: for each head the Fisher information of what
// the model predicts, [dim x dim], symmetric. Errors of covariance C in all tokens, small and
// independent, cost a divergence of trace(heads[h] C) / 2 per predicted token, in nats.
struct Information {
  std::vector<Matrix<double>> heads;
};

// What a stage may look at while it learns: all it has while it codes the same rows, and more.
struct FitContext : CodeContext {
  Progress progress = {};
  double rms = 0;                            // of the unit's rows about their mean, as they came
  const Attention* attention = nullptr;      // of the layer, for stages that ask for it
  const Information* information = nullptr;  // of the unit, for stages that ask for it
};

struct StageFit {
  std::string name;  // of the stage
  // Learns from calibration rows, as the stages before have left them. The state is what the codec
  // file will hold: a stage that codes has loaded it.
  std::function<Result<State>(const KeyValues& params, const Rows& rows, const FitContext& context)>
      fit;
};

// Generated from the stage folders (see cmake/Stages.cmake), in order of group and name.
const std::vector<StageFit>& stage_fit_table();

bool learns(const std::string& stage);
// An empty state where the stage learns nothing.
Result<State> fit_state(const std::string& stage, const KeyValues& params, const Rows& rows,
                        const FitContext& context);
// A stage that has learnt from rows and loaded what it learnt.
Result<std::unique_ptr<Stage>> fit_stage(const std::string& stage, const KeyValues& params,
                                         const Rows& rows, const FitContext& context);

// StageFit::fit for a function of a parameter struct (see codec/make_stage.h).
template <class Params, class Fit>
StageFit stage_fit(std::string name, Fit fit) {
  return {name,
          [name, fit](const KeyValues& pairs, const Rows& rows,
                      const FitContext& context) -> Result<State> {
            KVS_ASSIGN(const Params params, parse_params<Params>(name, pairs));
            return fit(params, rows, context);
          }};
}

}  // namespace kvsplice::codec
