// The statistics of a whole dump: per head, per layer and per signal (keys as the cache stores
// them, keys before rotation, values). Texts are sequences of their own: what looks along time is
// computed for each text and averaged.
#pragma once

#include <vector>

#include "analyse/unit.h"
#include "extract/dump.h"

namespace kvsplice::analyse {

struct AnalyseOptions {
  std::vector<int> layers;   // indices into shape.layers; empty: all that were dumped
  bool seed_subset = false;  // layers {0, L/4, L/2, 3L/4, L-1} and at most four heads
  size_t joint_rows = 2048;  // rows for the KLT over all layers, evenly spaced, at most
};

struct SignalAnalysis {
  host::Signal signal{};
  double lag1 = 0, low10 = 0, rank_ratio = 0, kurtosis = 0, mean_share = 0;  // means over layers
  Rates coordinate, head, layer;                                             // means over layers
  size_t fit_rows = 0;                     // that bases were learnt from
  size_t head_width = 0, layer_width = 0;  // values of the widest
  // One KLT over all layers; without it if only one layer was analysed.
  bool joint = false;
  Rates model;
  size_t joint_rows = 0, joint_fit_rows = 0, joint_width = 0;
  std::vector<double> spectrum;
};

struct Analysis {
  size_t tokens = 0, texts = 0;
  std::vector<HeadAnalysis> heads;
  std::vector<LayerAnalysis> layers;
  std::vector<SignalAnalysis> signals;

  const SignalAnalysis* find(host::Signal signal) const;
};

Result<Analysis> analyse(const extract::Dump& dump, const AnalyseOptions& options,
                         const Progress& progress);

}  // namespace kvsplice::analyse
