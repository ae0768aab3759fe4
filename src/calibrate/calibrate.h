// From texts to a codec: extract what the model computes for them, fit, and find the step that
// meets a target.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "calibrate/default_pipeline.h"
#include "calibrate/information.h"
#include "codec/codec.h"
#include "host/model.h"

namespace kvsplice::calibrate {

// That a live cache of so many tokens takes no more, all of its tables and exact rows counted.
struct CacheLimit {
  uint64_t bytes;
  size_t tokens;
};

struct CalibrateOptions {
  // If none is given default_pipeline(), or live_pipeline(), or what of it the model allows.
  std::optional<std::string> pipeline = {};
  bool live = false;
  std::optional<size_t> decode_budget = {};  // of default_pipeline(); kDecodeBudget
  size_t tokens = 65536;                     // of all texts together, at most
  std::optional<size_t> sequence = {};       // tokens evaluated as one; see sequence_of()
  size_t sinks = 4;
  // Fits once more, `fisher` knowing what errors do behind prompts that the first fit restored.
  bool tune = false;
  // At most one. The step of every `step` or `widths` stage is scaled by one factor until sequences
  // kept out of the fit meet the target. Codecs that can be live caches are measured as such.
  std::optional<double> ratio;  // f16 bytes over bytes
  std::optional<double> kld;    // mean, in the loop, above the noise floor
  std::optional<CacheLimit> limit;
  double memory_gb = kGradientMemory / 1e9;  // that gradients may take beside the model
  std::string work;       // folder for dumps, kept and used again; empty: a temporary one
  sweep::Team team = {};  // whose processes share what is evaluated: all need the same `work`
  int threads = 0;
};

// One fit on the way to the target; without a target the only one.
struct Trial {
  double factor = 1;  // of the pipeline's steps
  size_t tokens = 0;  // fitted on: some of the calibration tokens, then all of them
  double ratio = 0;   // on the sequences kept out, or at the limit's tokens; 0: not measured
  double kld = 0;
};

struct Calibration {
  codec::Codec codec;
  std::vector<Trial> trials;
  size_t tokens = 0;  // fitted on
  size_t held = 0;    // sequences kept out
  // Texts that were joined or left out; what the default pipeline was fitted without, and why.
  std::vector<std::string> notes;
};

// 1,024 if nobody names another. Live caches meet long contexts and learn from sequences of up to
// 4,096 tokens, as long as there are four, or enough for a target. Never more than the model was
// trained for.
size_t sequence_of(const host::Model& model, const CalibrateOptions& options);

// Only makes what calibrate() with these options finds in `work` then.
Result<> evaluate_texts(const host::Model& model, const std::vector<std::string>& texts,
                        const CalibrateOptions& options, const Progress& progress);

// Of a model whose gradients are not known (host/gradient.h) the default pipeline goes without
// `fisher`. Errors: a pipeline without `fisher` to be tuned, texts too short, a target without a
// `step` stage, a target out of reach (says what was reached).
Result<Calibration> calibrate(const host::Model& model, const std::vector<std::string>& texts,
                              const CalibrateOptions& options, const Progress& progress);

}  // namespace kvsplice::calibrate
