// The warps on real caches: errors of tensors and of attention, and quality in the loop.
#pragma once

#include <string>
#include <vector>

#include "experiments/kvsplice/caches.h"
#include "experiments/kvsplice/warps.h"
#include "quality/quality.h"

namespace kvsplice::experiment {

// Means over units: every head, or every layer, of the layers chosen.
struct CacheRow {
  std::string signal, scope;  // scope: "head" or "layer"
  size_t rank, columns;
  std::string method;
  double error;            // rms error / rms about the mean
  double attention_error;  // rms error / rms of the outputs
  size_t better, units;    // units in which the warp's error is below plain PCA's

  double bytes() const { return 2 * double(rank); }  // f16 coordinates of one vector
};
Result<std::vector<CacheRow>> compare_caches(const Caches& caches, const StudyOptions& options,
                                             const Progress& progress);

// Pipelines of pairwise equal bytes for keys and values of all layers, in the loop. The codecs are
// fitted to the training texts.
Result<std::vector<quality::Outcome>> compare_in_loop(const host::Model& model,
                                                      const Caches& caches,
                                                      const StudyOptions& options,
                                                      const Progress& progress);

}  // namespace kvsplice::experiment
